# shellcheck shell=bash
# TLS mode selfsigned: one certificate that names everything the guest is called, and that clients use as their CA
# file. CA:FALSE, because it must work as a server certificate everywhere: rustls refuses a CA as end entity, and
# OpenSSL, Node, Python and Go all accept a self-signed server certificate that is itself in their trust store.
# EC P-256: every TLS client of the last ten years has it, and it is quick on small machines.

SLM_SELFSIGNED_DAYS=365 # Mozilla's profiles allow 366
SLM_SELFSIGNED_RENEW_DAYS=30

tls_selfsigned_check() {
  :
}

tls_selfsigned_configure() {
  serve_selfsigned_pair
}

# serve_selfsigned_pair   has `current` hold a good self-signed pair, whatever it held before: the whole of this mode,
# and what mode letsencrypt serves while it has nothing better.
serve_selfsigned_pair() {
  local names
  names=$(wanted_names) || return
  find_renewal_reason "$names"
  if [[ -z $RENEWAL_REASON ]]; then
    msg info "keeping the certificate, $(((CERT_END - NOW) / 86400)) days are left"
    keep_pair
    return
  fi
  msg info "creating a self-signed certificate: $RENEWAL_REASON"
  create_selfsigned_pair "$names" || fail "the self-signed certificate could not be created, openssl's message is above"
}

# find_renewal_reason NAMES   why a new certificate is due in RENEWAL_REASON; empty when the one we have still serves.
# Leaves the time it was asked in NOW.
find_renewal_reason() {
  local missing
  RENEWAL_REASON=''
  check_pair
  NOW=$(date +%s)
  if [[ -n $PAIR_PROBLEM ]]; then
    RENEWAL_REASON=$PAIR_PROBLEM
  elif ! serves_selfsigned_pair; then
    RENEWAL_REASON="the present one comes from TLS mode $ORIGIN"
  elif ((CERT_END - NOW < SLM_SELFSIGNED_RENEW_DAYS * 86400)); then
    RENEWAL_REASON="less than $SLM_SELFSIGNED_RENEW_DAYS days are left"
  elif ((CERT_START > NOW)); then
    RENEWAL_REASON="the present one isn't valid yet by this machine's clock"
  else
    missing=$(normalized_names <<<"$CERT_NAMES"$'\n\n'"$1" |
      awk '!/./ { second = 1; next } !second { present[$0] = 1; next } !($0 in present) { print; exit }')
    [[ -z $missing ]] || RENEWAL_REASON="$missing is not in it"
  fi
}

# Everything the certificate must name, as DNS:... and IP:..., one a line, nothing twice.
wanted_names() {
  local name known seen=' '
  local -a wanted
  known=$(guest_names) || return
  mapfile -t wanted <<<"$known"$'\n'"${SLM_VALUE[domain],,}"$'\nlocalhost\n'"$SLM_ADDRESSES"$'\n127.0.0.1\n::1'
  for name in "${wanted[@]}"; do
    [[ -n $name && $seen != *" $name "* ]] || continue
    seen+="$name "
    if [[ $name == *:* || $name != *[!0-9.]* ]]; then
      printf 'IP:%s\n' "$name"
    else
      printf 'DNS:%s\n' "$name"
    fi
  done
}

# One spelling for IPv6: openssl prints all eight groups without leading zeros and in capitals, ip shortens.
normalized_names() {
  awk '
        !/^IP:.*:/ { print tolower($0); next }
        {
            address = tolower(substr($0, 4)); groups = 0; delete before; delete after; n_after = 0
            cut = index(address, "::")
            if (cut) {
                n_before = split(substr(address, 1, cut - 1), before, ":")
                n_after = split(substr(address, cut + 2), after, ":")
            } else n_before = split(address, before, ":")
            line = "ip:"
            for (i = 1; i <= 8; i++) {
                if (i <= n_before) group = before[i]
                else if (i > 8 - n_after) group = after[i - 8 + n_after]
                else group = "0"
                sub(/^0+/, "", group)
                line = line (i > 1 ? ":" : "") (group == "" ? "0" : group)
            }
            print line
        }'
}

# create_selfsigned_pair NAMES
create_selfsigned_pair() {
  local names=${1//$'\n'/,} folder request
  folder=$(new_pair_folder selfsigned) || return
  request=$(selfsigned_request "$names") || return
  # umask 0077 keeps the key private from its first byte
  (umask 0077 && exec openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 \
    -days "$SLM_SELFSIGNED_DAYS" -config /dev/stdin -keyout "$folder/key.pem" -out "$folder/cert.pem" \
    2>"$folder/openssl.log" <<<"$request") || {
    cat "$folder/openssl.log" >&2
    rm -rf "$folder"
    return 1
  }
  rm -f "$folder/openssl.log"
  switch_to_pair "$folder"
}

selfsigned_request() {
  local names=$1 name
  name=${names#DNS:}
  name=${name%%,*}
  cat <<CONF
[req]
prompt = no
string_mask = utf8only
distinguished_name = subject
x509_extensions = server

[subject]
O = SLM-Copilot
CN = ${name:0:64}

[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $names
CONF
}
