# shellcheck shell=bash
# Runs the steps of a one-apps stage. service.sh calls us under set -e: a failing step ends the process, and its
# EXIT trap calls service_cleanup, which reports the outcome with report_stage_outcome.

SLM_STAGE=
SLM_STEP=
SLM_STAGE_DONE=false
SLM_CLEANED_UP=false

run_stage() {
  SLM_STAGE=$1
  shift
  SLM_STAGE_DONE=false
  set -o pipefail
  stop_at_signals
  forget_failure
  stop_if_cleaned_up
  for SLM_STEP in "$@"; do
    msg info "$SLM_STAGE: ${SLM_STEP//_/ }"
    "$SLM_STEP"
  done
  SLM_STAGE_DONE=true
}

# service.sh has a signal clean up like an end, and then goes on without set -e, to success. Here a signal ends the
# stage, and the end cleans up.
stop_at_signals() {
  trap 'stage_interrupted INT 130' INT
  trap 'stage_interrupted QUIT 131' QUIT
  trap 'stage_interrupted TERM 143' TERM
}

# The signal that came before stop_at_signals: service.sh has cleaned up already, and went on.
stop_if_cleaned_up() {
  [[ $SLM_CLEANED_UP == true ]] || return 0
  remember_failure "interrupted by a signal before the first step"
  exit 143
}

stage_interrupted() {
  remember_failure "interrupted by signal $1 in step $SLM_STEP"
  exit "$2"
}

# The reason a stage failed, in one line.
stage_failure_reason() {
  if [[ -s $SLM_FAILURE_FILE ]]; then
    cat "$SLM_FAILURE_FILE"
  else
    printf 'step %s stopped unexpectedly, see /var/log/one-appliance/%s.log\n' "$SLM_STEP" "$SLM_STAGE"
  fi
}

# Called from service.sh's EXIT trap, also when it skipped or refused a stage (SLM_STAGE is empty then), after it has
# written the status of a successful one: "ready" on the console therefore means that the status file says so too.
report_stage_outcome() {
  SLM_CLEANED_UP=true
  [[ -n $SLM_STAGE ]] || return 0
  if [[ $SLM_STAGE_DONE != true ]]; then
    announce_failure "$SLM_STAGE" "$(stage_failure_reason)"
  elif [[ $SLM_STAGE == bootstrap ]]; then
    announce_ready
  fi
  SLM_STAGE=
}

# service.sh's tee keeps the lock until it has read the stage's last line; the next stage, which net-90 calls at
# once, would end without a word should it be quicker. After a failure tee reads on, but no stage follows either.
wait_for_stage_log() {
  local waits=0
  [[ $SLM_STAGE_DONE == true ]] || return 0
  while ((waits++ < 40)) && [[ -n $(jobs -pr) ]]; do
    sleep 0.05
  done
}
