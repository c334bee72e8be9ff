# shellcheck shell=bash
# The machinery of `service`: arguments, lock, state machine, log, status file and message of the day.

_ONE_SERVICE_STAGE=
_ONE_SERVICE_PIPE="${ONE_SERVICE_LOGDIR}/one_service_log.pipe"
_ONE_SERVICE_STARTED=

_load_appliance() {
  if [[ ! -f ${ONE_SERVICE_APPLIANCE} ]]; then
    msg error "There is no appliance: ${ONE_SERVICE_APPLIANCE} is missing"
    exit 1
  fi
  # shellcheck source=/dev/null
  source "${ONE_SERVICE_APPLIANCE}"
}

_usage() {
  echo "usage: service help | install [VERSION] | configure [reconfigure] | bootstrap [reconfigure]" >&2
  exit 2
}

# Sets _ONE_SERVICE_STAGE. ONE_SERVICE_VERSION and ONE_SERVICE_RECONFIGURE are for the appliance.
# shellcheck disable=SC2034
_parse_arguments() {
  _ONE_SERVICE_STAGE=${1:-}
  (($# <= 2)) || _usage
  case "${_ONE_SERVICE_STAGE}:${2:-}" in
    help: | install: | configure: | bootstrap:) ;;
    install:*) ONE_SERVICE_VERSION=$2 ;;
    configure:reconfigure | bootstrap:reconfigure) ONE_SERVICE_RECONFIGURE=true ;;
    *) _usage ;;
  esac
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

# Every process a stage leaves in the background keeps this lock, as with one-apps: the next stage then ends
# here without a word. Daemons have to be started by systemd.
_take_lock() {
  exec 9<"${ONE_SERVICE_DIR}/service"
  flock --exclusive --nonblock 9 || exit 1
}

_read_status() {
  [[ -f ${ONE_SERVICE_STATUS} ]] || return 0
  printf '%s' "$(<"${ONE_SERVICE_STATUS}")"
}

_write_status() {
  mkdir -p "${ONE_SERVICE_STATUS%/*}"
  printf '%s\n' "$1" >"${ONE_SERVICE_STATUS}.new"
  mv -f "${ONE_SERVICE_STATUS}.new" "${ONE_SERVICE_STATUS}"
}

_ask_state_machine() {
  local stage=$1 status
  status=$(_read_status)
  case "${stage}:${status}" in
    install: | configure:install_success | bootstrap:configure_success) ;;
    install:*) _answer_install "${status}" ;;
    configure:configure_* | configure:bootstrap_* | bootstrap:bootstrap_*)
      is_true ONE_SERVICE_RECONFIGURABLE || _answer_finished "${stage}" "${status}"
      ;;
    configure:) _refuse "The installation step is missing" ;;
    *) _refuse "Stage ${stage} can't follow status '${status}'" ;;
  esac
}

_answer_install() {
  if [[ $1 == install_success ]]; then
    _skip "The appliance is installed already"
  fi
  _refuse "The installation can't be run with status '$1'"
}

# An appliance that isn't reconfigurable runs each stage once.
_answer_finished() {
  local stage=$1 status=$2
  case "${stage}:${status}" in
    configure:configure_success | bootstrap:bootstrap_success) _skip "Stage ${stage} is done already" ;;
    configure:configure_started)
      _write_status configure_failure
      _refuse "The configuration was interrupted"
      ;;
    *) _refuse "Stage ${stage} can't be run again with status '${status}': the appliance is not reconfigurable" ;;
  esac
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
  mkdir -p "${ONE_SERVICE_LOGDIR}" "${ONE_SERVICE_SETUP_DIR}"
  trap '_end_stage $?' EXIT
  printf '%s\n' "$$" >"${ONE_SERVICE_PIDFILE}"
  _write_status "${stage}_started"
  _write_motd "${stage}" started
  _ONE_SERVICE_STARTED=yes
  _start_log "${ONE_SERVICE_LOGDIR}/${stage}.log"
  "service_${stage}" 2>&1
  _write_status "${stage}_success"
  _write_motd "${stage}" success
}

# The EXIT trap: also a stage that ended in the middle of anything gets its status and its cleanup.
_end_stage() {
  local code=$1 stage=${_ONE_SERVICE_STAGE}
  trap - EXIT
  set +o errexit
  if declare -F service_cleanup >/dev/null; then
    service_cleanup
  fi
  if [[ ${_ONE_SERVICE_STARTED} == yes && $(_read_status) != "${stage}_success" ]]; then
    _write_status "${stage}_failure"
    _write_motd "${stage}" failure
    ((code != 0)) || code=1
  fi
  _end_log
  rm -f "${ONE_SERVICE_PIDFILE}"
  exit "${code}"
}

# A pipe that a power cut left behind stops the stage, as with one-apps: the appliance has to remove it earlier.
_start_log() {
  local log=$1
  mkfifo "${_ONE_SERVICE_PIPE}"
  tee -a "${log}" <"${_ONE_SERVICE_PIPE}" 9<&- &
  _ONE_SERVICE_TEE=$!
  exec 3>&1 >"${_ONE_SERVICE_PIPE}"
}

_end_log() {
  if [[ -n ${_ONE_SERVICE_TEE:-} ]]; then
    exec 1>&3 3>&-
    _wait_for_tee
  fi
  rm -f "${_ONE_SERVICE_PIPE}"
}

# A process left in the background may keep the pipe open for ever, so this waits two seconds at most.
_wait_for_tee() {
  local try
  for ((try = 0; try < 20; try++)); do
    kill -0 "${_ONE_SERVICE_TEE}" 2>/dev/null || return 0
    sleep 0.1
  done
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
