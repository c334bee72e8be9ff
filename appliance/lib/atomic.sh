# shellcheck shell=bash
# Files appear whole or not at all, also across a power cut, and always with an explicit mode: the whole run has
# umask 0077, under which nginx couldn't read what it must.

# write_atomically MODE OWNER:GROUP PATH   content on stdin. The owner is set only when running as root.
write_atomically() {
  local mode=$1 owner=$2 path=$3
  local folder=${path%/*} name=${path##*/} temporary
  drop_unfinished "$path"
  temporary=$(mktemp "$folder/.$name.XXXXXX") || fail "$(unwritten "$path")" || return
  if ! { cat >"$temporary" && give "$mode" "$owner" "$temporary" && sync "$temporary" && mv -fT "$temporary" "$path"; }; then
    rm -f "$temporary"
    fail "$(unwritten "$path")" || return
  fi
  sync "$folder"
}

# unwritten PATH   says that it could not be written, and why if there is no room.
unwritten() {
  local free_kib
  free_kib=$(df --output=avail -k "${1%/*}" 2>/dev/null | sed -n '$p' || true)
  if [[ $free_kib =~ ^\ *[0-9]+$ ]] && ((free_kib < 64)); then
    printf '%s could not be written: the disk is full; what was there before stays. Free some space or grow the disk\n' "$1"
  else
    printf '%s could not be written; what was there before stays\n' "$1"
  fi
}

# drop_unfinished PATH   removes what an interrupted write_atomically left beside PATH; it may hold a secret.
drop_unfinished() {
  rm -f "${1%/*}/.${1##*/}".??????
}

# write_if_changed MODE OWNER:GROUP PATH   like write_atomically, but leaves an identical file alone.
# Sets WRITE_CHANGED to true or false.
write_if_changed() {
  local mode=$1 owner=$2 path=$3 content
  content=$(cat && printf x) || return # the x keeps trailing newlines, which $(...) would eat
  content=${content%x}
  WRITE_CHANGED=false
  if [[ -f $path ]] && cmp -s "$path" <(printf '%s' "$content"); then
    drop_unfinished "$path"
    give "$mode" "$owner" "$path"
    return
  fi
  # shellcheck disable=SC2034 # the caller reads it
  WRITE_CHANGED=true
  printf '%s' "$content" | write_atomically "$mode" "$owner" "$path"
}

# give MODE OWNER:GROUP PATH...
give() {
  local mode=$1 owner=$2
  shift 2
  chmod "$mode" "$@" || return
  if [[ $EUID -eq 0 && -z $SLM_ROOT ]]; then
    chown "$owner" "$@"
  fi
}

# make_folder MODE OWNER:GROUP PATH   parents are 0755.
make_folder() {
  local mode=$1 owner=$2 path=$3
  [[ -d $path ]] || (umask 0022 && mkdir -p "$path") || return
  give "$mode" "$owner" "$path"
}

# link_atomically TARGET LINK   replaces LINK by a symbolic link to TARGET in one step.
link_atomically() {
  local target=$1 link=$2 temporary
  temporary="${link%/*}/.${link##*/}.link"
  ln -sfnT "$target" "$temporary" && mv -fT "$temporary" "$link" && sync "${link%/*}"
}
