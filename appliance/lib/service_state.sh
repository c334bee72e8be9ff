# shellcheck shell=bash
# What a power cut or a kill leaves of service.sh's own files, mended when it sources us: it looks at them only after
# that, and would refuse every stage, or one.

mend_service_state() {
  [[ -n ${ONE_SERVICE_STATUS:-} && -n ${ONE_SERVICE_PIDFILE:-} && -n ${ONE_SERVICE_LOGDIR:-} ]] || return 0
  ! is_service_running || return 0
  local left
  for left in "$ONE_SERVICE_PIDFILE" "$ONE_SERVICE_LOGDIR/one_service_log.pipe"; do
    [[ ! -e $left ]] || rm -f "$left"
  done
  mend_status
}

# service.sh believes any live process with the number in its file, also one that got the number later.
is_service_running() {
  local pid word
  [[ -s $ONE_SERVICE_PIDFILE ]] || return 1
  read -r pid <"$ONE_SERVICE_PIDFILE" || true
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  while IFS= read -r -d '' word; do
    [[ ${word##*/} != "${0##*/}" ]] || return 0
  done <"/proc/$pid/cmdline"
  return 1
}

# It is written in place: a power cut may leave it empty, which reads as "never installed". An appliance that has
# its metadata is installed.
mend_status() {
  if [[ -f $ONE_SERVICE_STATUS && ! -s $ONE_SERVICE_STATUS && -s ${ONE_SERVICE_METADATA:-} ]]; then
    printf 'install_success\n' >"$ONE_SERVICE_STATUS"
  fi
}
