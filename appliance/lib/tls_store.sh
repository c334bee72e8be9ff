# shellcheck shell=bash
# Where certificate and key live: each pair in a folder of its own, `current` points at one of them, and the public
# paths cert.pem and key.pem lead through it. Renaming one link switches both, so that a power cut can't leave a key
# beside another key's certificate.

# new_pair_folder   prints a fresh folder; write cert.pem and key.pem there, then call switch_to_pair.
new_pair_folder() {
  local folder
  folder=$(mktemp -d "$SLM_TLS_DIR/pair.XXXXXX") || return
  chmod 0755 "$folder" && printf '%s\n' "$folder"
}

switch_to_pair() {
  local folder=$1
  give 0644 root:root "$folder/cert.pem" && give 0600 root:root "$folder/key.pem" || return
  sync "$folder/cert.pem" "$folder/key.pem" "$folder"
  mark_pending nginx &&
    link_atomically "${folder##*/}" "$SLM_TLS_DIR/current" &&
    link_public_paths || return
  drop_other_pairs "${folder##*/}"
}

# Also mends what somebody changed by hand: modes, and public paths that were replaced by files.
link_public_paths() {
  local file
  for file in cert.pem key.pem; do
    if [[ $(readlink "$SLM_TLS_DIR/$file" 2>/dev/null || true) != "current/$file" ]]; then
      mark_pending nginx && link_atomically "current/$file" "$SLM_TLS_DIR/$file" || return
    fi
  done
  give 0755 root:root "$SLM_TLS_DIR" "$SLM_TLS_DIR/current/." &&
    give 0644 root:root "$SLM_TLS_DIR/current/cert.pem" &&
    give 0600 root:root "$SLM_TLS_DIR/current/key.pem"
}

drop_other_pairs() {
  local keep=$1 folder
  for folder in "$SLM_TLS_DIR"/pair.*; do
    if [[ -d $folder && ${folder##*/} != "$keep" ]]; then
      rm -rf "$folder"
    fi
  done
}

# The reason why the pair in `current` can't be served in PAIR_PROBLEM, empty when it can; leaves what
# read_certificate found.
check_pair() {
  local cert=$SLM_TLS_DIR/current/cert.pem key=$SLM_TLS_DIR/current/key.pem public
  PAIR_PROBLEM=''
  if [[ ! -s $cert || ! -s $key ]]; then
    PAIR_PROBLEM="there is none yet"
  elif ! read_certificate "$cert"; then
    PAIR_PROBLEM="the certificate can't be read"
  else
    public=$(openssl pkey -in "$key" -pubout 2>/dev/null | grep -v '^-' | tr -d '[:space:]' || true)
    if [[ -z $public || $public != "$CERT_PUBLIC_KEY" ]]; then
      # shellcheck disable=SC2034 # the caller reads it
      PAIR_PROBLEM="the key doesn't belong to the certificate"
    fi
  fi
}
