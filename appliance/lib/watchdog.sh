# shellcheck shell=bash
# Notices an engine that lives but no longer answers. Proof of life is a completion; as long as the engine serves
# others, its counters prove the same without one. Hung is only an engine that answers no completion and whose
# counters stand still all that time: behind a prompt of ten minutes a completion waits, but the counters move.

SLM_WATCHDOG_UNIT=slm-watchdog.service

# Seconds between two looks at the counters.
SLM_WATCHDOG_LOOK_S=${SLM_WATCHDOG_LOOK_S:-20}
# Seconds an engine without work is believed before it has to answer a completion.
SLM_WATCHDOG_IDLE_S=${SLM_WATCHDOG_IDLE_S:-600}
# Seconds without completion and progress after which it is given up: many times what a slow CPU needs for one batch.
SLM_WATCHDOG_LIMIT_S=${SLM_WATCHDOG_LIMIT_S:-120}
# Seconds between two looks while a completion is awaited.
SLM_WATCHDOG_POLL_S=${SLM_WATCHDOG_POLL_S:-5}
# Seconds a restarted engine is waited for: as long as its unit may take to start.
SLM_WATCHDOG_RESTART_S=${SLM_WATCHDOG_RESTART_S:-1800}

install_watchdog() {
  give 0755 root:root "$SLM_APPLIANCE_DIR/bin/engine-watchdog" &&
    install_unit_file "$SLM_APPLIANCE_DIR/templates/slm-watchdog.service" "$SLM_ROOT/etc/systemd/system/$SLM_WATCHDOG_UNIT" &&
    reload_units && enable_unit "$SLM_WATCHDOG_UNIT"
}

start_watchdog() {
  systemctl start "$SLM_WATCHDOG_UNIT" || fail "the engine's watchdog did not start, see journalctl -u $SLM_WATCHDOG_UNIT"
}

# Never returns.
watch_engine() {
  WATCHED_PROGRESS='' WATCHED_IDLE_S=0
  while :; do
    look_after_engine
    sleep "$SLM_WATCHDOG_LOOK_S"
  done
}

# One look, and what follows from it. Returns when the engine is known to be well, or to be systemd's business.
look_after_engine() {
  local progress
  engine_is_watched || return 0
  progress=$(engine_progress) || progress=''
  if [[ -n $progress && $progress != "$WATCHED_PROGRESS" ]]; then
    WATCHED_PROGRESS=$progress WATCHED_IDLE_S=0
    return
  fi
  if [[ $progress == idle* ]] && ((WATCHED_IDLE_S < SLM_WATCHDOG_IDLE_S)); then
    WATCHED_IDLE_S=$((WATCHED_IDLE_S + SLM_WATCHDOG_LOOK_S))
    return
  fi
  if [[ $progress == idle* ]] && engine_can keep_prompts; then
    engine_keep_prompts
  fi
  if engine_proves_life; then
    WATCHED_PROGRESS=$(engine_progress) || WATCHED_PROGRESS=''
    WATCHED_IDLE_S=0
  else
    restart_hung_engine
  fi
}

# Before the model has answered for the first time, and while the engine is stopped, there is nothing to watch.
engine_is_watched() {
  [[ -e $SLM_READY_FILE ]]
}

# False when neither a completion was answered nor a counter moved for SLM_WATCHDOG_LIMIT_S.
engine_proves_life() {
  local stalled_cs=0 progress last=$WATCHED_PROGRESS before now probe
  engine_answers "$SLM_WATCHDOG_LIMIT_S" >/dev/null 2>&1 &
  probe=$!
  before=$(uptime_cs)
  while engine_is_watched; do
    sleep "$SLM_WATCHDOG_POLL_S"
    if ! kill -0 "$probe" 2>/dev/null; then
      if wait "$probe"; then
        return 0
      fi
      engine_answers "$SLM_WATCHDOG_LIMIT_S" >/dev/null 2>&1 &
      probe=$!
    fi
    progress=$(engine_progress) || progress=''
    now=$(uptime_cs)
    if [[ -n $progress && $progress != "$last" ]]; then
      last=$progress stalled_cs=0
    else
      stalled_cs=$((stalled_cs + $(shorter $((now - before)) $(((SLM_WATCHDOG_POLL_S + 10) * 100)))))
    fi
    before=$now
    ((stalled_cs < SLM_WATCHDOG_LIMIT_S * 100)) || return 1
  done
}

# A machine that was paused or asleep has stalled nobody: no round counts for more than it could last.
shorter() {
  printf '%s\n' $(($1 < $2 ? $1 : $2))
}

restart_hung_engine() {
  local given_up
  # first of all, so that nobody is sent to it any more
  rm -f "$SLM_READY_FILE"
  # "<4>": a warning to the journal
  printf '<4>the engine hangs: no completion and no progress for %s s; killing it, systemd starts it again\n' "$SLM_WATCHDOG_LIMIT_S"
  given_up=$(uptime_cs)
  # it would not hear a polite signal
  systemctl kill --signal=KILL "$SLM_ENGINE_UNIT" || printf '<3>%s could not be killed\n' "$SLM_ENGINE_UNIT"
  wait_for_restart "$given_up"
  WATCHED_PROGRESS='' WATCHED_IDLE_S=0
}

wait_for_restart() {
  local given_up=$1 waited_s=0
  until engine_is_watched; do
    waited_s=$((($(uptime_cs) - given_up) / 100))
    if ((waited_s >= SLM_WATCHDOG_RESTART_S)); then
      printf '<3>the engine has not come back for %s s, see journalctl -u %s\n' "$waited_s" "$SLM_ENGINE_UNIT"
      return
    fi
    sleep 0.5
  done
  printf '<5>the engine answers again, %s s after it was killed\n' $((($(uptime_cs) - given_up) / 100))
}
