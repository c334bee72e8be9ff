# shellcheck shell=bash
# Judges a certificate chain before it is served: every reason why clients would refuse it, in words. The arrays have
# one entry a certificate, the server's own first.

# read_chain FILE   reads every certificate of a PEM file with one call of openssl. Sets the arrays CHAIN_SUBJECT,
# CHAIN_ISSUER, CHAIN_START and CHAIN_END (seconds since 1970), CHAIN_SIGNATURE (openssl's name of the algorithm),
# CHAIN_KEY (as public_key_kind tells it), CHAIN_PUBLIC (hexadecimal), CHAIN_CA (TRUE, FALSE or empty), CHAIN_USAGE
# and CHAIN_PURPOSE (openssl's words, empty without the extension), CHAIN_NAMES and CHAIN_PEM. Fails when a
# certificate can't be read.
read_chain() {
  local text line part='' dates='' i=-1 kind
  local -a bits=() curve=() algorithm=()
  CHAIN_SUBJECT=() CHAIN_ISSUER=() CHAIN_START=() CHAIN_END=() CHAIN_SIGNATURE=() CHAIN_KEY=() CHAIN_PUBLIC=()
  CHAIN_CA=() CHAIN_USAGE=() CHAIN_PURPOSE=() CHAIN_NAMES=() CHAIN_PEM=()
  text=$(openssl storeutl -certs -text "$1" 2>/dev/null) || return
  while read -r line; do
    case "$line" in
      [0-9]*': Certificate')
        i=$((i + 1)) part=''
        CHAIN_SUBJECT[i]='' CHAIN_ISSUER[i]='' CHAIN_SIGNATURE[i]='' CHAIN_PUBLIC[i]='' CHAIN_CA[i]=''
        CHAIN_USAGE[i]='' CHAIN_PURPOSE[i]='' CHAIN_NAMES[i]='' CHAIN_PEM[i]='' bits[i]='' curve[i]='' algorithm[i]=''
        ;;
      'Signature Algorithm: '*) CHAIN_SIGNATURE[i]=${CHAIN_SIGNATURE[i]:-${line#*: }} ;;
      'Hash Algorithm: '*) CHAIN_SIGNATURE[i]="rsassaPss with ${line#*: }" ;;
      'Issuer: '*) CHAIN_ISSUER[i]=${line#*: } ;;
      'Subject: '*) CHAIN_SUBJECT[i]=${line#*: } ;;
      'Not Before: '* | 'Not After : '*) dates+=${line#*: }$'\n' ;;
      'Public Key Algorithm: '*) algorithm[i]=${line#*: } ;;
      *'Public-Key: ('*) bits[i]=${line//[!0-9]/} ;;
      'ASN1 OID: '*) curve[i]=${line#*: } ;;
      'pub:' | 'Modulus:') part='public' ;;
      'X509v3 Basic Constraints:'*) part='ca' ;;
      'X509v3 Key Usage:'*) part='usage' ;;
      'X509v3 Extended Key Usage:'*) part='purpose' ;;
      'X509v3 Subject Alternative Name:'*) part='names' ;;
      X509v3* | 'Signature Value:'*) part='' ;;
      '-----BEGIN CERTIFICATE-----') part='pem' CHAIN_PEM[i]=$line$'\n' ;;
      '-----END CERTIFICATE-----') part='' CHAIN_PEM[i]+=$line$'\n' ;;
      *)
        case "$part" in
          public) [[ ! $line =~ ^[0-9a-f:]+$ ]] || CHAIN_PUBLIC[i]+=${line//:/} ;;
          pem) CHAIN_PEM[i]+=$line$'\n' ;;
          ca) CHAIN_CA[i]=${line#CA:} CHAIN_CA[i]=${CHAIN_CA[i]%%,*} part='' ;;
          usage) CHAIN_USAGE[i]=$line part='' ;;
          purpose) CHAIN_PURPOSE[i]=$line part='' ;;
          names) CHAIN_NAMES[i]=$line part='' ;;
        esac
        ;;
    esac
  done <<<"$text"
  ((i >= 0)) || return
  for kind in "${!algorithm[@]}"; do
    CHAIN_KEY[kind]=$(public_key_kind "${algorithm[kind]}" "${bits[kind]}" "${curve[kind]}")
  done
  dates=$(date -f - +%s <<<"${dates%$'\n'}") || return
  i=0
  while read -r line; do
    if ((i % 2)); then CHAIN_END[i / 2]=$line; else CHAIN_START[i / 2]=$line; fi
    i=$((i + 1))
  done <<<"$dates"
}

# public_key_kind ALGORITHM BITS CURVE   in openssl's words; prints "RSA 2048", "EC prime256v1" and the like.
public_key_kind() {
  case "$1" in
    rsaEncryption) printf 'RSA %s\n' "$2" ;;
    id-ecPublicKey) printf 'EC %s\n' "${3:-of a curve without a name}" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# The reason why clients would refuse a key, nothing for a good one. P-521 and Ed25519 are sound, but BoringSSL
# doesn't offer them: browsers and every editor made of one would get no connection.
problem_of_key_kind() {
  case "$1" in
    'EC prime256v1' | 'EC secp384r1') ;;
    'EC secp521r1' | ED25519 | ED448) echo "has a key of the kind $1, with which browsers and many editors can't connect" ;;
    'RSA '*)
      if ((${1#RSA } < 2048)); then
        echo "has an RSA key of only ${1#RSA } bits"
      elif ((${1#RSA } > 8192)); then
        echo "has an RSA key of ${1#RSA } bits, more than clients accept"
      fi
      ;;
    *) echo "has a key of the kind $(quoted "$1")" ;;
  esac
}

# judge_chain   the first reason why the chain of read_chain can't be served in CHAIN_PROBLEM, empty for a good one.
judge_chain() {
  local i
  CHAIN_PROBLEM=''
  judge_server_certificate
  for ((i = 0; i < ${#CHAIN_SUBJECT[@]}; i++)); do
    [[ -n $CHAIN_PROBLEM ]] || judge_member "$i"
  done
  [[ -n $CHAIN_PROBLEM ]] || judge_order
}

judge_server_certificate() {
  local problem
  problem=$(problem_of_key_kind "${CHAIN_KEY[0]}")
  if [[ -n $problem ]]; then
    CHAIN_PROBLEM="the certificate $problem"
  elif [[ ${CHAIN_CA[0]} == TRUE ]]; then
    CHAIN_PROBLEM="the first certificate is an authority's (CA:TRUE), the server's own must come first"
    [[ " ${CHAIN_CA[*]:1} " != *' FALSE '* ]] || CHAIN_PROBLEM="the chain is in the wrong order: $CHAIN_PROBLEM"
  elif [[ ${CHAIN_NAMES[0]} != *DNS:* && ${CHAIN_NAMES[0]} != *'IP Address:'* ]]; then
    CHAIN_PROBLEM="the certificate has no subject alternative name, without which no client accepts it"
  elif [[ -n ${CHAIN_PURPOSE[0]} && ${CHAIN_PURPOSE[0]} != *'TLS Web Server Authentication'* ]]; then
    CHAIN_PROBLEM="the certificate is not for servers, its extended key usage is $(quoted "${CHAIN_PURPOSE[0]}")"
  elif [[ -n ${CHAIN_USAGE[0]} && ${CHAIN_USAGE[0]} != *'Digital Signature'* ]]; then
    CHAIN_PROBLEM="the certificate's key may not sign (its key usage is $(quoted "${CHAIN_USAGE[0]}")), as TLS asks for"
  fi
}

# judge_member N   what must hold of every certificate; N counts from 0.
judge_member() {
  local i=$1 now which problem
  now=$(date +%s)
  which=$(chain_member "$i")
  problem=$(problem_of_key_kind "${CHAIN_KEY[i]}")
  if ((CHAIN_END[i] <= now)); then
    CHAIN_PROBLEM="$which expired on $(utc_date "${CHAIN_END[i]}") (this machine's clock: $(utc_date "$now"))"
  elif ((CHAIN_START[i] > now)); then
    CHAIN_PROBLEM="$which is not valid before $(utc_date "${CHAIN_START[i]}") (this machine's clock: $(utc_date "$now"))"
  elif ((i > 0)) && [[ -n $problem && $problem != *'EC secp521r1'* ]]; then
    CHAIN_PROBLEM="$which $problem"
  elif ((i > 0)) && [[ ${CHAIN_SUBJECT[i]} == "${CHAIN_ISSUER[i]}" ]]; then
    : # nobody verifies a root's signature on itself
  elif [[ ! ${CHAIN_SIGNATURE[i],,} =~ ^(sha(256|384|512)withrsaencryption|ecdsa-with-sha(256|384|512)|rsassapss\ with\ sha(256|384|512))$ ]]; then
    CHAIN_PROBLEM="$which is signed with $(quoted "${CHAIN_SIGNATURE[i]}")"
  fi
}

# Each certificate after the first must have signed the one before it.
judge_order() {
  local i
  for ((i = 1; i < ${#CHAIN_SUBJECT[@]}; i++)); do
    if [[ ${CHAIN_SUBJECT[i]} != "${CHAIN_ISSUER[i - 1]}" ]]; then
      CHAIN_PROBLEM="the chain is in the wrong order or has a gap: $(chain_member "$i") did not sign the one before it"
      return
    elif [[ ${CHAIN_CA[i]} != TRUE ]]; then
      CHAIN_PROBLEM="$(chain_member "$i") is not an authority's (no CA:TRUE) and can't have signed another"
      return
    fi
  done
}

# chain_signature_problem FOLDER   openssl's word on the signatures, with files in FOLDER; nothing when they are good.
chain_signature_problem() {
  local folder=$1 last=$((${#CHAIN_PEM[@]} - 1)) answer
  ((last > 0)) || return 0
  printf '%s' "${CHAIN_PEM[0]}" >"$folder/first.pem" && printf '%s' "${CHAIN_PEM[last]}" >"$folder/last.pem" &&
    printf '%s' "${CHAIN_PEM[@]:1}" >"$folder/others.pem" || return
  if ! answer=$(openssl verify -no-CAfile -no-CApath -no-CAstore -partial_chain -no_check_time -purpose sslserver \
    -trusted "$folder/last.pem" -untrusted "$folder/others.pem" "$folder/first.pem" 2>&1); then
    answer=$(sed -n '/^error [0-9]* at/ { s/^error [0-9]* at \([0-9]*\) depth lookup: */\1 /p; q }' <<<"$answer")
    printf '%s is not signed by the one after it: openssl says "%s"\n' \
      "$(chain_member "${answer%% *}")" "$(one_line "${answer#* }")"
  fi
}

# chain_member N   how a message names a certificate.
chain_member() {
  local name=${CHAIN_SUBJECT[${1:-0}]:-}
  [[ $name != *CN\ =\ * ]] || name=${name##*CN = }
  [[ $name != *CN=* ]] || name=${name##*CN=}
  printf 'certificate %s (%s)' "$((${1:-0} + 1))" "$(quoted "$name")"
}

utc_date() {
  date -u -d "@$1" +%Y-%m-%dT%H:%MZ
}
