# shellcheck shell=bash
# TLS mode custom: the certificate and key of ONEAPP_SLM_TLS_CERT and ONEAPP_SLM_TLS_KEY. Everything is judged before
# anything is written; the key is never on a command line and, until it is accepted, in no file.

SLM_CUSTOM_WARN_DAYS=30
SLM_CUSTOM_LONGEST_CHAIN=10

# Sets CUSTOM_CHAIN and CUSTOM_KEY, the PEM texts to serve, in openssl's own spelling: the same certificate pasted in
# another way is the same. A root at the end of the chain is left out, clients have it or don't trust it.
tls_custom_check() {
  local folder status=0
  CUSTOM_CHAIN='' CUSTOM_KEY=''
  [[ -n ${SLM_VALUE[tls_cert]} ]] || refuse_certificate "is missing, ONEAPP_SLM_TLS_MODE=custom needs it" || return
  [[ -n ${SLM_VALUE[tls_key]} ]] || refuse_key "is missing, ONEAPP_SLM_TLS_MODE=custom needs it" || return
  make_folder 0755 root:root "$SLM_RUN_DIR" && rm -rf "$SLM_RUN_DIR"/.custom.?????? &&
    folder=$(mktemp -d "$SLM_RUN_DIR/.custom.XXXXXX") || return
  { check_custom_certificate "$folder" && check_custom_key && check_custom_domain; } || status=$?
  rm -rf "$folder"
  return "$status"
}

tls_custom_configure() {
  local folder
  if [[ $(current_origin) == custom ]] && same_content "${CUSTOM_CHAIN%$'\n'}" "$SLM_TLS_DIR/current/cert.pem" &&
    same_content "${CUSTOM_KEY%$'\n'}" "$SLM_TLS_DIR/current/key.pem"; then
    msg info "keeping the certificate, it is the one of the context"
    keep_pair || return
  else
    folder=$(new_pair_folder custom) &&
      printf '%s' "$CUSTOM_CHAIN" >"$folder/cert.pem" &&
      (umask 0077 && printf '%s' "$CUSTOM_KEY" >"$folder/key.pem") &&
      switch_to_pair "$folder" || return
    msg info "serving the certificate of the context"
  fi
  read_certificate "$SLM_TLS_CERT" || return
  warn_about_foreign_names
  warn_about_few_days
}

refuse_certificate() {
  fail "ONEAPP_SLM_TLS_CERT: $1; accepted: ${SLM_PARAM_ACCEPTED[ONEAPP_SLM_TLS_CERT]}"
}

refuse_key() {
  fail "ONEAPP_SLM_TLS_KEY: $1; accepted: ${SLM_PARAM_ACCEPTED[ONEAPP_SLM_TLS_KEY]}"
}

check_custom_certificate() {
  local folder=$1 text labels label count=0 problem
  text=$(decoded_pem "${SLM_VALUE[tls_cert]}") || refuse_certificate "the value is not base64" || return
  labels=$(pem_labels "$text") || refuse_certificate "a PEM block in it is cut off" || return
  while read -r label; do
    case "$label" in
      CERTIFICATE) count=$((count + 1)) ;;
      *'PRIVATE KEY') refuse_certificate "it holds a private key, which belongs into ONEAPP_SLM_TLS_KEY" || return ;;
      *) refuse_certificate "it holds $(quoted "$label") where only certificates are expected" || return ;;
    esac
  done <<<"$labels"
  ((count <= SLM_CUSTOM_LONGEST_CHAIN)) ||
    refuse_certificate "it holds $count certificates, a chain has at most $SLM_CUSTOM_LONGEST_CHAIN" || return
  printf '%s\n' "$text" >"$folder/given.pem" || return
  if ! read_chain "$folder/given.pem" || ((${#CHAIN_PEM[@]} != count)); then
    refuse_certificate "a certificate in it is damaged, openssl can't read it" || return
  fi
  judge_chain
  [[ -z $CHAIN_PROBLEM ]] || refuse_certificate "$CHAIN_PROBLEM" || return
  problem=$(chain_signature_problem "$folder") || return
  [[ -z $problem ]] || refuse_certificate "$problem" || return
  while ((count > 1)) && [[ ${CHAIN_SUBJECT[count - 1]} == "${CHAIN_ISSUER[count - 1]}" ]]; do
    count=$((count - 1))
  done
  CUSTOM_CHAIN=$(printf '%s' "${CHAIN_PEM[@]:0:count}")$'\n'
}

check_custom_key() {
  local text labels
  text=$(decoded_pem "${SLM_VALUE[tls_key]}") || refuse_key "the value is not base64" || return
  labels=$(pem_labels "$text") || refuse_key "the PEM block in it is cut off" || return
  labels=$(grep -vx 'EC PARAMETERS' <<<"$labels" || true) # openssl ecparam writes them above the key
  case "$labels" in
    'PRIVATE KEY' | 'EC PRIVATE KEY' | 'RSA PRIVATE KEY') ;;
    'ENCRYPTED PRIVATE KEY') refuse_key "the key is encrypted, and nobody could type the passphrase at a boot" || return ;;
    'OPENSSH PRIVATE KEY') refuse_key "it is a key of OpenSSH, not of TLS" || return ;;
    'DSA PRIVATE KEY') refuse_key "it is a DSA key" || return ;;
    *'PUBLIC KEY'*) refuse_key "it holds a public key" || return ;;
    *CERTIFICATE*) refuse_key "it holds a certificate, which belongs into ONEAPP_SLM_TLS_CERT" || return ;;
    *'PRIVATE KEY'*$'\n'*) refuse_key "it holds several keys" || return ;;
    *) refuse_key "it holds $(quoted "$labels") where a private key is expected" || return ;;
  esac
  text=$(pem_block "$labels" "$text")
  [[ $text != *Proc-Type:*ENCRYPTED* ]] ||
    refuse_key "the key is encrypted, and nobody could type the passphrase at a boot" || return
  read_private_key "$text" || refuse_key "the key is damaged, openssl can't read it" || return
  [[ $KEY_PUBLIC == "${CHAIN_PUBLIC[0]}" ]] ||
    refuse_key "the key does not belong to the certificate $(quoted "${CHAIN_SUBJECT[0]}") in ONEAPP_SLM_TLS_CERT"
}

# read_private_key PEM   sets CUSTOM_KEY, the key as PKCS#8, and KEY_PUBLIC, its public part in hexadecimal.
read_private_key() {
  local answer line part='key'
  CUSTOM_KEY='' KEY_PUBLIC=''
  answer=$(printf '%s\n' "$1" | openssl pkey -passin pass: -text_pub 2>/dev/null) || return
  while read -r line; do
    case "$line" in
      '-----END PRIVATE KEY-----') CUSTOM_KEY+=$line$'\n' part='' ;;
      'pub:' | 'Modulus:') part='public' ;;
      *)
        if [[ $part == key ]]; then
          CUSTOM_KEY+=$line$'\n'
        elif [[ $part == public && $line =~ ^[0-9a-f:]+$ ]]; then
          KEY_PUBLIC+=${line//:/}
        else
          part=''
        fi
        ;;
    esac
  done <<<"$answer"
  [[ -n $CUSTOM_KEY && -n $KEY_PUBLIC ]]
}

check_custom_domain() {
  local domain=${SLM_VALUE[domain]}
  # what follows is of a certificate that no file holds yet
  # shellcheck disable=SC2034 # read_certificate reads it
  LAST_CERTIFICATE=''
  CERT_NAMES=${CHAIN_NAMES[0]//IP Address:/IP:}
  CERT_NAMES=${CERT_NAMES//, /$'\n'}
  if [[ -n $domain ]] && ! certificate_covers "$domain"; then
    fail "ONEAPP_SLM_DOMAIN: $(quoted "$domain") is not among the names of the certificate in ONEAPP_SLM_TLS_CERT ($(quoted "${CHAIN_NAMES[0]}")); accepted: a name it holds for, or empty"
  fi
}

warn_about_foreign_names() {
  local name
  while read -r name; do
    case "${name#*:}" in
      localhost | 127.0.0.1 | ::1) ;;
      *) ! certificate_covers "${name#*:}" || return 0 ;;
    esac
  done < <(wanted_names)
  msg warning "the certificate names neither this machine nor any of its addresses: clients must reach it as $(one_line "${CERT_NAMES//$'\n'/ }")"
}

warn_about_few_days() {
  local days=$(((CERT_END - $(date +%s)) / 86400))
  ((days >= SLM_CUSTOM_WARN_DAYS)) || msg warning "the certificate expires in $days days, put a new one into ONEAPP_SLM_TLS_CERT and ONEAPP_SLM_TLS_KEY"
}
