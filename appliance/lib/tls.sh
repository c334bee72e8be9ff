# shellcheck shell=bash disable=SC2034 # the CERT_ variables are for the callers
# The certificate nginx serves. One file a TLS mode offers tls_<mode>_check (may this mode be used with these
# parameters? called before anything is written) and tls_<mode>_configure (make /etc/ssl/slm-copilot hold a pair), and
# may offer tls_<mode>_leave: called when another mode's pair is in place, it removes what only this mode has a use for.

SLM_TLS_MODES=(selfsigned letsencrypt custom)

check_tls_mode() {
  "tls_${SLM_VALUE[tls_mode]}_check"
}

configure_tls() {
  local mode
  make_folder 0755 root:root "$SLM_TLS_DIR" || return
  "tls_${SLM_VALUE[tls_mode]}_configure" || return
  for mode in "${SLM_TLS_MODES[@]}"; do
    if [[ $mode != "${SLM_VALUE[tls_mode]}" ]] && declare -F "tls_${mode}_leave" >/dev/null; then
      "tls_${mode}_leave" || return
    fi
  done
}

# read_certificate FILE   one look at a certificate (openssl is slow to start on emulated machines). Sets CERT_SUBJECT,
# CERT_ISSUER, CERT_FINGERPRINT (SHA-256), CERT_NAMES (DNS:name and IP:address, one a line), CERT_PUBLIC_KEY, and
# CERT_START and CERT_END in seconds since 1970. Fails when the file holds no certificate. A file that has not changed
# since the last look isn't asked again.
read_certificate() {
  local text line dates content
  read_text "$1" || true
  content=${TEXT-}
  [[ -z $content || $content != "${LAST_CERTIFICATE:-}" ]] || return 0
  LAST_CERTIFICATE=''
  CERT_SUBJECT='' CERT_ISSUER='' CERT_FINGERPRINT='' CERT_NAMES='' CERT_PUBLIC_KEY='' CERT_START='' CERT_END=''
  text=$(openssl x509 -in "$1" -noout -subject -issuer -dates -sha256 -fingerprint -ext subjectAltName -pubkey 2>/dev/null) || return
  while IFS= read -r line; do
    case "$line" in
      subject=*) CERT_SUBJECT=${line#subject=} ;;
      issuer=*) CERT_ISSUER=${line#issuer=} ;;
      notBefore=*) CERT_START=${line#notBefore=} ;;
      notAfter=*) CERT_END=${line#notAfter=} ;;
      *Fingerprint=*) CERT_FINGERPRINT=${line#*=} ;;
      *DNS:* | *'IP Address:'*) CERT_NAMES=${line//IP Address:/IP:} ;;
      -* | X509v3*) ;;
      *) CERT_PUBLIC_KEY+=$line ;;
    esac
  done <<<"$text"
  CERT_NAMES=${CERT_NAMES//[[:space:]]/}
  CERT_NAMES=${CERT_NAMES//,/$'\n'}
  CERT_PUBLIC_KEY=${CERT_PUBLIC_KEY//[[:space:]]/}
  dates=$(date -f - +%s <<<"$CERT_START"$'\n'"$CERT_END") || return
  CERT_START=${dates%$'\n'*} CERT_END=${dates#*$'\n'} LAST_CERTIFICATE=$content
}
