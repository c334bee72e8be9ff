# shellcheck shell=bash disable=SC2034 # the callers read LINEAGE_PROBLEM
# The lineage: what certbot keeps of our certificate below /etc/letsencrypt (renewal/, live/ and archive/). certbot
# doesn't write it in one step, so every use of it starts with a look whether it is whole and is what we want.

SLM_LINEAGE=slm-copilot

# find_lineage_problem DOMAIN DIRECTORY   why the lineage can't be used for them in LINEAGE_PROBLEM, empty when it can;
# leaves what read_certificate found.
find_lineage_problem() {
  local domain=$1 directory=$2 live=$SLM_LETSENCRYPT_DIR/live/$SLM_LINEAGE server account public
  server=$(renewal_setting server) account=$(renewal_setting account)
  LINEAGE_PROBLEM=''
  if [[ -z $server ]]; then
    LINEAGE_PROBLEM="there is none yet"
  elif [[ $server != "$directory" ]]; then
    LINEAGE_PROBLEM="it comes from another ACME server"
  elif [[ -z $account || ! -s $(account_folder "$directory")/$account/private_key.json ]]; then
    LINEAGE_PROBLEM="the account it belongs to is gone"
  elif ! lineage_is_whole "$live"; then
    LINEAGE_PROBLEM="a write to it was interrupted"
  elif ! read_certificate "$live/fullchain.pem"; then
    LINEAGE_PROBLEM="its certificate can't be read"
  elif ! grep -qxiF "DNS:$domain" <<<"$CERT_NAMES"; then
    LINEAGE_PROBLEM="it is for another domain"
  else
    public=$(openssl pkey -in "$live/privkey.pem" -pubout 2>/dev/null | grep -v '^-' | tr -d '[:space:]' || true)
    [[ $public == "$CERT_PUBLIC_KEY" ]] || LINEAGE_PROBLEM="its key doesn't belong to its certificate"
  fi
}

# Four links of one and the same number, each to a file with something in it; the chain file begins with the
# certificate.
lineage_is_whole() {
  local live=$1 kind target number='' first=''
  for kind in cert chain fullchain privkey; do
    target=$(readlink "$live/$kind.pem" 2>/dev/null) && [[ -s $live/$kind.pem ]] || return
    [[ ${target##*/} =~ ^$kind([0-9]+)\.pem$ ]] || return
    number=${BASH_REMATCH[1]}
    [[ $number == "${first:=$number}" ]] || return
  done
  cmp -s "$live/cert.pem" <(head -c "$(stat -Lc %s "$live/cert.pem")" "$live/fullchain.pem")
}

# renewal_setting NAME   a value of the lineage's renewal configuration, nothing where there is none.
renewal_setting() {
  local file=$SLM_LETSENCRYPT_DIR/renewal/$SLM_LINEAGE.conf
  [[ -r $file ]] || return 0
  awk -v name="$1" '$1 == name && $2 == "=" { print $3; exit }' "$file"
}

# remove_lineage   the configuration first: without it certbot renews nothing, wherever an interruption leaves us.
remove_lineage() {
  rm -f "$SLM_LETSENCRYPT_DIR/renewal/$SLM_LINEAGE.conf" "$SLM_LETSENCRYPT_DIR/renewal/$SLM_LINEAGE"-[0-9]*.conf
  rm -rf "$SLM_LETSENCRYPT_DIR/live/$SLM_LINEAGE" "$SLM_LETSENCRYPT_DIR/live/$SLM_LINEAGE"-[0-9]* \
    "$SLM_LETSENCRYPT_DIR/archive/$SLM_LINEAGE" "$SLM_LETSENCRYPT_DIR/archive/$SLM_LINEAGE"-[0-9]*
}

# account_folder DIRECTORY   where certbot keeps the accounts of one ACME server.
account_folder() {
  printf '%s/accounts/%s\n' "$SLM_LETSENCRYPT_DIR" "${1#https://}"
}

# remove_broken_accounts DIRECTORY   an account that a power cut left half written would stop every later try.
remove_broken_accounts() {
  local folder file
  for folder in "$(account_folder "$1")"/*/; do
    [[ -d $folder ]] || continue
    for file in meta regr private_key; do
      if [[ ! -s $folder$file.json ]] || ! jq -e type "$folder$file.json" >/dev/null 2>&1; then
        msg warning "removing an ACME account that was not written completely"
        rm -rf "$folder"
        break
      fi
    done
  done
}

remove_accounts() {
  rm -rf "$(account_folder "$1")"
}
