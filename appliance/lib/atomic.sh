# shellcheck shell=bash
# Files appear whole or not at all, also across a power cut, and always with an explicit mode: the whole run has
# umask 0077, under which nginx couldn't read what it must.

# Every program that is started costs a tenth of a second where the CPU is emulated, and a configure stage writes a dozen
# files: what bash can do itself, it does here.

# write_atomically MODE OWNER:GROUP PATH   content on stdin. The owner is set only when running as root.
write_atomically() {
  local content
  content=$(cat && printf x) || return # the x keeps trailing newlines, which $(...) would eat
  write_text_atomically "$1" "$2" "$3" "${content%x}"
}

# write_text_atomically MODE OWNER:GROUP PATH TEXT
write_text_atomically() {
  local mode=$1 owner=$2 path=$3 text=$4
  local folder=${path%/*} temporary
  drop_unfinished "$path"
  new_temporary "$path" || fail "$(unwritten "$path")" || return
  temporary=$TEMPORARY
  # It has its mode and owner before it has content, which may be a secret.
  if ! { give "$mode" "$owner" "$temporary" && printf '%s' "$text" >"$temporary" && sync "$temporary" && mv -fT "$temporary" "$path"; }; then
    rm -f "$temporary"
    fail "$(unwritten "$path")" || return
  fi
  sync "$folder"
}

# new_temporary PATH   an empty file beside PATH that nobody else has, in TEMPORARY.
new_temporary() {
  local number status=0
  printf -v number '%06d' $(((RANDOM * 32768 + RANDOM) % 1000000))
  TEMPORARY=${1%/*}/.${1##*/}.$number
  set -o noclobber
  : >"$TEMPORARY" || status=1
  set +o noclobber
  return "$status"
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
  local file
  for file in "${1%/*}/.${1##*/}".??????; do
    [[ ! -e $file ]] || rm -f "$file"
  done
}

# has_text PATH TEXT   that is all the file holds. What bash can't hold, bytes of 0, makes it differ.
has_text() {
  local present=''
  [[ -f $1 && -r $1 ]] && ! IFS= read -r -d '' present <"$1" && [[ $present == "$2" ]]
}

# read_text PATH   the file's text in TEXT, without the newlines at its end.
read_text() {
  TEXT=''
  [[ -r $1 ]] || return
  IFS= read -r -d '' TEXT <"$1" || true
  while [[ $TEXT == *$'\n' ]]; do TEXT=${TEXT%$'\n'}; done
}

# write_if_changed MODE OWNER:GROUP PATH   like write_atomically, but leaves an identical file alone.
# Sets WRITE_CHANGED to true or false.
write_if_changed() {
  local content
  content=$(cat && printf x) || return
  write_text_if_changed "$1" "$2" "$3" "${content%x}"
}

# write_text_if_changed MODE OWNER:GROUP PATH TEXT
write_text_if_changed() {
  local mode=$1 owner=$2 path=$3 text=$4
  WRITE_CHANGED=false
  if has_text "$path" "$text"; then
    drop_unfinished "$path"
    give "$mode" "$owner" "$path"
    return
  fi
  # shellcheck disable=SC2034 # the caller reads it
  WRITE_CHANGED=true
  write_text_atomically "$mode" "$owner" "$path" "$text"
}

# give MODE OWNER:GROUP PATH...
give() {
  local mode=$1 owner=$2
  shift 2
  chmod "$mode" "$@" || return
  if [[ $EUID -eq 0 && -z $SLM_ROOT ]] && ! { [[ $owner == root:root ]] && are_ours "$@"; }; then
    chown "$owner" "$@"
  fi
}

# are_ours PATH...   each belongs to the user and the group that we are.
are_ours() {
  local path
  for path in "$@"; do
    [[ -O $path && -G $path ]] || return
  done
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
