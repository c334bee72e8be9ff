# shellcheck shell=bash
# Where certificate and key live: each pair in a folder of its own, `current` points at one of them, and the public
# paths cert.pem and key.pem lead through it. Renaming one link switches both, so that a power cut can't leave a key
# beside another key's certificate. A pair folder holds
#   cert.pem  0644  the certificate, its chain below it
#   key.pem   0600
#   origin    0644  the TLS mode that made the pair: selfsigned, custom or letsencrypt

# new_pair_folder ORIGIN   prints a fresh folder; write cert.pem and key.pem there, then call switch_to_pair.
new_pair_folder() {
  local origin=$1 folder
  printf -v folder '%s/pair.%06d' "$SLM_TLS_DIR" $(((RANDOM * 32768 + RANDOM) % 1000000))
  mkdir -m 0755 "$folder" && printf '%s\n' "$origin" >"$folder/origin" && printf '%s\n' "$folder"
}

# switch_to_pair FOLDER   serves it from now on and removes every other pair. A pair that can't be served is removed
# instead, and the one before it stays.
switch_to_pair() {
  local folder=$1
  check_pair "$folder"
  if [[ -n $PAIR_PROBLEM ]]; then
    rm -rf "$folder"
    fail "the new certificate is not used: $PAIR_PROBLEM" || return
  fi
  give 0644 root:root "$folder/cert.pem" "$folder/origin" && give 0600 root:root "$folder/key.pem" || return
  sync "$folder/cert.pem" "$folder/key.pem" "$folder/origin" "$folder" "$SLM_TLS_DIR"
  mark_pending nginx &&
    link_atomically "${folder##*/}" "$SLM_TLS_DIR/current" &&
    link_public_paths || return
  drop_other_pairs
}

# current_origin   the TLS mode that made the pair which is served; nothing where there is no pair.
current_origin() {
  find_current_origin
  [[ -z $ORIGIN ]] || printf '%s\n' "$ORIGIN"
}

# find_current_origin   the same in ORIGIN.
find_current_origin() {
  ORIGIN=''
  if [[ -r $SLM_TLS_DIR/current/origin ]]; then
    read -r ORIGIN <"$SLM_TLS_DIR/current/origin" || true
  fi
  case "$ORIGIN" in
    selfsigned | custom | letsencrypt) ;;
    *)
      ORIGIN=''
      [[ ! -s $SLM_TLS_DIR/current/cert.pem ]] || ORIGIN=$(guessed_origin)
      ;;
  esac
}

serves_selfsigned_pair() {
  find_current_origin
  [[ $ORIGIN == selfsigned ]]
}

# Pairs of image versions before the file `origin`: only self-signed ones were made then, and those say who made them.
guessed_origin() (
  read_certificate "$SLM_TLS_DIR/current/cert.pem" || true
  if [[ $CERT_SUBJECT == "$CERT_ISSUER" && ", ${CERT_SUBJECT// = /=}," == *', O=SLM-Copilot,'* ]]; then
    echo selfsigned
  else
    echo custom
  fi
)

# keep_pair   for a mode that goes on serving the pair in `current`. Also mends what somebody changed by hand: modes,
# public paths that were replaced by files, a missing origin; and removes what an interrupted run left.
keep_pair() {
  find_current_origin
  write_text_if_changed 0644 root:root "$SLM_TLS_DIR/current/origin" "$ORIGIN"$'\n' &&
    link_public_paths || return
  drop_other_pairs
}

link_public_paths() {
  local file
  for file in cert.pem key.pem; do
    if [[ ! -L $SLM_TLS_DIR/$file || $(readlink "$SLM_TLS_DIR/$file") != "current/$file" ]]; then
      mark_pending nginx && link_atomically "current/$file" "$SLM_TLS_DIR/$file" || return
    fi
  done
  give 0755 root:root "$SLM_TLS_DIR" "$SLM_TLS_DIR/current/." &&
    give 0644 root:root "$SLM_TLS_DIR/current/cert.pem" &&
    give 0600 root:root "$SLM_TLS_DIR/current/key.pem"
}

# Every pair but the one that `current` points at, and half-made links.
drop_other_pairs() {
  local keep folder
  keep=$(readlink "$SLM_TLS_DIR/current") || return
  for folder in "$SLM_TLS_DIR"/pair.*; do
    if [[ -d $folder && ${folder##*/} != "$keep" ]]; then
      rm -rf "$folder"
    fi
  done
  for folder in "$SLM_TLS_DIR"/.*.link; do
    [[ ! -L $folder ]] || rm -f "$folder"
  done
}

# check_pair [FOLDER]   the reason why a pair (the one in `current` unless told) can't be served in PAIR_PROBLEM, empty
# when it can; leaves what read_certificate found.
check_pair() {
  local folder=${1:-$SLM_TLS_DIR/current} public
  PAIR_PROBLEM=''
  if [[ ! -s $folder/cert.pem || ! -s $folder/key.pem ]]; then
    PAIR_PROBLEM="there is none yet"
  elif ! read_certificate "$folder/cert.pem"; then
    PAIR_PROBLEM="the certificate can't be read"
  else
    public=$(openssl pkey -in "$folder/key.pem" -pubout 2>/dev/null || true)
    public=${public#-----BEGIN PUBLIC KEY-----} public=${public%-----END PUBLIC KEY-----}
    public=${public//[[:space:]]/}
    if [[ -z $public || $public != "$CERT_PUBLIC_KEY" ]]; then
      # shellcheck disable=SC2034 # the caller reads it
      PAIR_PROBLEM="the key doesn't belong to the certificate"
    fi
  fi
}
