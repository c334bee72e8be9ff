# shellcheck shell=bash
# What is remembered about asking an ACME server: whether the last try failed, why, and when the next one is due.
# It lies on the disk, so that a guest that reboots again and again doesn't ask again and again.

SLM_ACME_FIRST_DELAY=600     # seconds
SLM_ACME_LONGEST_DELAY=43200 # 12 hours

# read_acme_state REQUEST   sets ACME_FAILURES, ACME_REASON and ACME_NEXT_TRY (seconds since 1970), as nothing ever
# failed when what is remembered is about another request.
read_acme_state() {
  local request=$1 label value remembered='' failures=0 reason='' next_try=0
  if [[ -r $SLM_CERTIFICATE_STATE ]]; then
    while IFS='=' read -r label value; do
      case "$label" in
        request) remembered=$value ;;
        failures) failures=$value ;;
        reason) reason=$value ;;
        next_try) next_try=$value ;;
      esac
    done <"$SLM_CERTIFICATE_STATE"
  fi
  ACME_FAILURES=0 ACME_REASON='' ACME_NEXT_TRY=0
  if [[ $remembered == "$request" && $failures =~ ^[0-9]{1,6}$ && $next_try =~ ^[0-9]{1,12}$ ]]; then
    ACME_FAILURES=$failures ACME_REASON=$reason ACME_NEXT_TRY=$next_try
  fi
}

# acme_try_is_due   also where the clock was set back: no delay is longer than the longest one and its jitter.
acme_try_is_due() {
  local now
  now=$(date +%s)
  ((ACME_FAILURES == 0 || now >= ACME_NEXT_TRY || ACME_NEXT_TRY - now > SLM_ACME_LONGEST_DELAY * 5 / 4))
}

# remember_acme_failure REQUEST REASON   the next try comes after a delay that doubles with every failure.
remember_acme_failure() {
  local request=$1 delay
  ACME_FAILURES=$((ACME_FAILURES + 1))
  ACME_REASON=$(one_line "$2")
  delay=$(acme_delay "$ACME_FAILURES") && ACME_NEXT_TRY=$(($(date +%s) + delay)) && write_acme_state "$request"
}

# remember_acme_success REQUEST
remember_acme_success() {
  ACME_FAILURES=0 ACME_REASON='' ACME_NEXT_TRY=0
  write_acme_state "$1"
}

# acme_delay FAILURES   seconds; a quarter is left to chance, so that many guests don't come back together.
acme_delay() {
  local failures=$1 delay=$SLM_ACME_FIRST_DELAY
  while ((failures > 1 && delay < SLM_ACME_LONGEST_DELAY)); do
    delay=$((delay * 2)) failures=$((failures - 1))
  done
  ((delay < SLM_ACME_LONGEST_DELAY)) || delay=$SLM_ACME_LONGEST_DELAY
  echo $((delay + (RANDOM * 32768 + RANDOM) % (delay / 4)))
}

write_acme_state() {
  write_if_changed 0600 root:root "$SLM_CERTIFICATE_STATE" <<STATE
request=$1
failures=$ACME_FAILURES
reason=$ACME_REASON
next_try=$ACME_NEXT_TRY
STATE
}
