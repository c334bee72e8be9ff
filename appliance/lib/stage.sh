# shellcheck shell=bash
# Runs the steps of a one-apps stage. service.sh calls us under set -e: a failing step ends the process, and its
# EXIT trap calls service_cleanup, which reports the outcome with report_stage_outcome.

SLM_STAGE=
SLM_STEP=
SLM_STAGE_DONE=false

run_stage() {
  SLM_STAGE=$1
  shift
  SLM_STAGE_DONE=false
  set -o pipefail
  forget_failure
  for SLM_STEP in "$@"; do
    msg info "$SLM_STAGE: ${SLM_STEP//_/ }"
    "$SLM_STEP"
  done
  SLM_STAGE_DONE=true
}

# The reason a stage failed, in one line.
stage_failure_reason() {
  if [[ -s $SLM_FAILURE_FILE ]]; then
    cat "$SLM_FAILURE_FILE"
  else
    printf 'step %s stopped unexpectedly, see /var/log/one-appliance/%s.log\n' "$SLM_STEP" "$SLM_STAGE"
  fi
}

# Called from the EXIT trap of every stage, after service.sh has written the status of a successful one: "ready"
# on the console therefore means that the status file says so too.
report_stage_outcome() {
  [[ -n $SLM_STAGE ]] || return 0
  if [[ $SLM_STAGE_DONE != true ]]; then
    announce_failure "$SLM_STAGE" "$(stage_failure_reason)"
  elif [[ $SLM_STAGE == bootstrap ]]; then
    announce_ready
  fi
  SLM_STAGE=
}
