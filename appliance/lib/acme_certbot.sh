# shellcheck shell=bash
# certbot, run so that it ends in bounded time and says in one line why it failed. The challenge is answered by the
# running nginx from a folder: nothing else ever listens on port 80.

SLM_ACME_TRY_SECONDS=100 # for the whole try; the boot waits for it

# ask_for_certificate DOMAIN DIRECTORY   a new lineage. On failure the reason is in CERTBOT_REASON, and the ACME error in
# CERTBOT_ERROR if it was one.
ask_for_certificate() {
  local domain=$1 directory=$2
  try_certbot "$directory" certonly --webroot --webroot-path "$SLM_ACME_DIR" --domain "$domain" \
    --cert-name "$SLM_LINEAGE" --key-type ecdsa --elliptic-curve secp256r1 --server "$directory" \
    --agree-tos --register-unsafely-without-email
}

# renew_certificate DIRECTORY   a new certificate for the lineage; certbot runs the deploy hook.
renew_certificate() {
  try_certbot "$1" renew --cert-name "$SLM_LINEAGE" --force-renewal --no-random-sleep-on-renew
}

# try_certbot DIRECTORY ARGUMENT...   once more within the same time where the server no longer takes a nonce: that is
# no refusal, and RFC 8555 asks for it.
try_certbot() {
  local directory=$1 deadline=$((SECONDS + SLM_ACME_TRY_SECONDS)) attempt
  shift
  remove_broken_accounts "$directory"
  remove_challenges
  remove_copies
  for attempt in 1 2 3; do
    if run_certbot $((deadline - SECONDS)) "$@"; then
      remove_copies
      return
    fi
    if [[ $CERTBOT_ERROR != badNonce ]] || ((attempt == 3 || SECONDS >= deadline)); then
      break
    fi
    msg info "asking once more: $CERTBOT_REASON"
  done
  remove_challenges
  return 1
}

# run_certbot SECONDS ARGUMENT...
run_certbot() {
  local seconds=$1 said status=0 trust=()
  shift
  ((seconds > 0)) || seconds=1
  if [[ -s $SLM_ACME_CA_FILE ]]; then
    trust=("REQUESTS_CA_BUNDLE=$SLM_ACME_CA_FILE")
  fi
  said=$(env LC_ALL=C.UTF-8 SLM_HOLDS_CERTIFICATE_LOCK=true "${trust[@]}" \
    timeout --kill-after=5 "$seconds" certbot "$@" --non-interactive --max-log-backups 4 \
    --config-dir "$SLM_LETSENCRYPT_DIR" --work-dir "$SLM_LETSENCRYPT_WORK" --logs-dir "$SLM_LETSENCRYPT_LOGS" \
    2>&1 </dev/null) || status=$?
  CERTBOT_REASON='' CERTBOT_ERROR=''
  ((status == 0)) && return
  CERTBOT_ERROR=$(last_acme_error) || true
  if ((status == 124 || status == 137)); then
    CERTBOT_REASON="no certificate came within $SLM_ACME_TRY_SECONDS s"
  else
    CERTBOT_REASON=$(certbot_reason <<<"$said")
    if [[ $CERTBOT_REASON == AttributeError:* ]]; then
      CERTBOT_REASON=$(masked_reason)
    fi
    CERTBOT_REASON=${CERTBOT_REASON:-certbot ended with status $status, see $SLM_LETSENCRYPT_LOGS/letsencrypt.log}
  fi
  return 1
}

# certbot_reason   certbot's many lines on stdin; the one that matters on stdout: what the ACME server said of the
# challenge, else what follows "unexpected error", else the last line that isn't advice.
certbot_reason() {
  awk '
    function trimmed(text) { gsub(/^[[:space:]]+|[[:space:]]+$/, "", text); return text }
    /^[[:space:]]*Type:/ { type = trimmed(substr($0, index($0, ":") + 1)) }
    /^[[:space:]]*Detail:/ && detail == "" { detail = trimmed(substr($0, index($0, ":") + 1)) }
    expected && $0 ~ /[^[:space:]]/ { unexpected = trimmed($0); expected = 0 }
    /^An unexpected error occurred:/ { expected = 1 }
    /[^[:space:]]/ && !/^(Saving debug log|Ask for help|See the logfile|- - -|Some challenges have failed|Hint:)/ { last = trimmed($0) }
    END {
      if (detail != "") print (type == "" ? "" : type ": ") detail
      else if (unexpected != "") print unexpected
      else print last
    }' | shortened
}

# last_acme_error   its type as RFC 8555 names it: badNonce, rateLimited. certbot's words don't always have it, its log
# does, which every run begins anew.
last_acme_error() {
  grep -oE 'urn:ietf:params:acme:error:[A-Za-z]+' "$SLM_LETSENCRYPT_LOGS/letsencrypt.log" 2>/dev/null | tail -n 1 |
    sed 's/.*://'
}

# masked_reason   certbot 2.1 under Python 3.11 stumbles over every error of an ACME server and tells that it has stumbled;
# the server's own words are in its log.
masked_reason() {
  sed -n 's/^acme\.messages\.Error: //p' "$SLM_LETSENCRYPT_LOGS/letsencrypt.log" 2>/dev/null | tail -n 1 | cut -c 1-240
}

# Network errors come wrapped in the names of Python classes; the inner message is what helps.
shortened() {
  sed -E -e 's/^(requests|urllib3|acme)\.[A-Za-z.]*(Error|Exception)[A-Za-z]*: //' \
    -e "s/^HTTPSConnectionPool\(host='([^']*)', port=([0-9]+)\).*Caused by .*(\[Errno -?[0-9]+\] |\(_ssl|certificate verify failed|timed out)(.*)/the ACME server \1:\2 can't be reached: \3\4/" \
    -e "s/^ValueError: Requesting ([^ ]+): (.*)/the ACME server can't be reached: \1: \2/" \
    -e "s/[)'\"]+\$//" | cut -c 1-240
}

# Keys and requests beside the lineage's archive, which has them too: every try adds one.
remove_copies() {
  rm -f "$SLM_LETSENCRYPT_DIR"/csr/*.pem "$SLM_LETSENCRYPT_DIR"/keys/*.pem
}

# What a try that was killed left in the folder that port 80 serves.
remove_challenges() {
  rm -rf "${SLM_ACME_DIR:?}/.well-known/acme-challenge"
}
