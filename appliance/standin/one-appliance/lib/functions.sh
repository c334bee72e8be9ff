# shellcheck shell=bash
# The machinery of `service`: arguments, lock, state machine, log, status file and message of the day.

_ONE_SERVICE_STAGE=
_ONE_SERVICE_PIPE="${ONE_SERVICE_LOGDIR}/one_service_log.pipe"
_ONE_SERVICE_LOGGING=

_load_appliance() {
  if [[ ! -f ${ONE_SERVICE_APPLIANCE} ]]; then
    msg error "There is no appliance: ${ONE_SERVICE_APPLIANCE} is missing"
    exit 1
  fi
  # shellcheck source=/dev/null
  source "${ONE_SERVICE_APPLIANCE}"
}

_usage() {
  echo "usage: service [help] | install [VERSION] | configure [reconfigure] | bootstrap [reconfigure]" >&2
  exit 2
}

# Sets _ONE_SERVICE_STAGE. ONE_SERVICE_VERSION and ONE_SERVICE_RECONFIGURE are for the appliance.
# shellcheck disable=SC2034
_parse_arguments() {
  local stage=${1:-help}
  (($# <= 2)) || _usage
  case "${stage}:${2:-}" in
    help: | -h: | --help:) stage=help ;;
    install: | configure: | bootstrap:) ;;
    install:*) ONE_SERVICE_VERSION=$2 ;;
    configure:reconfigure | bootstrap:reconfigure) ONE_SERVICE_RECONFIGURE=true ;;
    *) _usage ;;
  esac
  _ONE_SERVICE_STAGE=${stage}
}

_show_help() {
  if declare -F service_help >/dev/null; then
    service_help
  else
    default_service_help
  fi
}

_stop_if_already_running() {
  local pid
  [[ -f ${ONE_SERVICE_PIDFILE} ]] || return 0
  pid=$(<"${ONE_SERVICE_PIDFILE}")
  if [[ -n ${pid} ]] && kill -0 "${pid}" 2>/dev/null; then
    msg warning "Another service run is active (process ${pid}), nothing done"
    exit 0
  fi
}

# Descriptor 9 holds the lock. tee keeps it too, the stage's own processes don't: whatever goes on writing to the
# stage's log after the stage ended keeps tee alive, and the next stage then ends here without a word, as with
# one-apps. Daemons have to be started by systemd.
_take_lock() {
  exec 9<"${ONE_SERVICE_DIR}/service"
  flock --exclusive --nonblock 9 || exit 1
}

# One-apps also has signals clean up, and then goes on with the stage, errexit off.
_on_exit_clean_up() {
  trap '_clean_up 2>/dev/null' EXIT INT QUIT TERM
  printf '%s\n' "$$" >"${ONE_SERVICE_PIDFILE}"
}

_read_status() {
  [[ -f ${ONE_SERVICE_STATUS} ]] || return 0
  printf '%s' "$(<"${ONE_SERVICE_STATUS}")"
}

# In place, as one-apps writes it: a power cut may leave it empty.
_write_status() {
  printf '%s\n' "$1" >"${ONE_SERVICE_STATUS}"
  _write_motd "${1%_*}" "${1##*_}"
}

# What came of the stage that the status names, whichever that is.
_write_result() {
  local status
  status=$(_read_status)
  _write_status "${status%_*}_$1"
}

_ask_state_machine() {
  local stage=$1 status
  status=$(_read_status)
  case "${stage}:${status}" in
    install: | configure:install_success | bootstrap:configure_success) ;;
    install:install_success) _skip "The appliance is installed already" ;;
    configure:configure_* | configure:bootstrap_* | bootstrap:bootstrap_*)
      is_true ONE_SERVICE_RECONFIGURABLE || _answer_finished "${stage}" "${status}"
      ;;
    configure:) _refuse "The installation step is missing" ;;
    *) _refuse "Stage ${stage} can't follow status '${status}'" ;;
  esac
}

# An appliance that isn't reconfigurable runs each stage once.
_answer_finished() {
  local stage=$1 status=$2
  [[ ${status} != "${stage}_success" ]] || _skip "Stage ${stage} is done already"
  _refuse "Stage ${stage} can't be run again with status '${status}': the appliance is not reconfigurable"
}

_skip() {
  msg info "$1, skipped"
  exit 0
}

_refuse() {
  msg error "$1" || true
  exit 1
}

_run_stage() {
  local stage=$1
  _write_status "${stage}_started"
  mkdir -p "${ONE_SERVICE_LOGDIR}"
  chmod 0700 "${ONE_SERVICE_LOGDIR}"
  _start_log "${ONE_SERVICE_LOGDIR}/${stage}.log"
  "service_${stage}" 2>&1 9<&-
  _end_log
  _write_result success
}

# Whatever the stage ended with, also when it was skipped or refused: a status `*_started` that nobody will finish
# becomes a failure. The exit status stays what it was.
_clean_up() {
  set +o errexit
  service_cleanup
  [[ -z ${_ONE_SERVICE_LOGGING} ]] || rm -f "${_ONE_SERVICE_PIPE}"
  [[ $(_read_status) != *_started ]] || _write_result failure
  rm -f "${ONE_SERVICE_PIDFILE}"
}

# A pipe that a power cut left behind stops the stage, as with one-apps: the appliance has to remove it earlier.
# Nobody waits for tee, and descriptor 3, the output of `service`, is inherited by what the stage starts.
_start_log() {
  _ONE_SERVICE_LOGGING=yes
  mkfifo "${_ONE_SERVICE_PIPE}"
  tee -a "$1" <"${_ONE_SERVICE_PIPE}" &
  exec 3>&1 >"${_ONE_SERVICE_PIPE}"
}

_end_log() {
  exec 1>&3 3>&-
}

_write_motd() {
  local stage=$1 result=$2 step title
  case "${stage}" in
    install) step=1/3 title=Installation ;;
    configure) step=2/3 title=Configuration ;;
    bootstrap) step=3/3 title=Bootstrap ;;
  esac
  {
    echo
    echo " ${ONE_SERVICE_NAME:-Appliance}"
    echo
    case "${stage}:${result}" in
      bootstrap:success) echo " All set and ready to serve 8)" ;;
      *:success) echo " ${step} ${title} step was successfull." ;;
      *:started) echo " ${step} ${title} step is in progress..." ;;
      *:failure)
        echo " ${step} ${title} step failed."
        echo
        echo " * * * * * * * * *"
        echo " * APPLIANCE ERROR *"
        echo " * * * * * * * * *"
        echo
        echo " Read the logs in ${ONE_SERVICE_LOGDIR}."
        ;;
    esac
    echo
  } >"${ONE_SERVICE_MOTD}"
}
