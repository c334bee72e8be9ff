# shellcheck shell=bash
# What all engines have in common: the unit they run in, their user, and the loopback port they answer on. load_flavor
# sources it before the engine's own file, which says what differs.

SLM_ENGINE_UNIT=slm-engine.service
SLM_ENGINE_USER=slm-engine

# The engine's user, and its programs in root's hands: it may read and run them, nothing else.
install_engine_tree() {
  id -u "$SLM_ENGINE_USER" >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$SLM_ENGINE_USER" || return
  chown -R root:root "$SLM_ENGINE_DIR" && chmod -R u=rwX,go=rX "$SLM_ENGINE_DIR" || return
  give 0755 root:root "$SLM_HOME" "$SLM_APPLIANCE_DIR/bin/engine-state" "$SLM_APPLIANCE_DIR/bin/kept-prompts"
}

# install_engine_unit FILE
install_engine_unit() {
  install_unit_file "$1" "$SLM_ROOT/etc/systemd/system/$SLM_ENGINE_UNIT" && reload_units && enable_unit "$SLM_ENGINE_UNIT"
}

# write_engine_file MODE PATH TEXT   for root and the engine's user; what changes takes effect with the next start.
write_engine_file() {
  has_text "$2" "$3"$'\n' || mark_pending engine || return
  write_text_if_changed "$1" "root:$SLM_ENGINE_USER" "$2" "$3"$'\n'
}

engine_begin() {
  local verb=start
  enable_unit "$SLM_ENGINE_UNIT"
  if is_pending engine; then
    verb=restart
  fi
  systemctl "$verb" --no-block "$SLM_ENGINE_UNIT" || fail "the engine did not become ready: $(last_engine_error)"
}

# Blocks until the model answers (the unit's ExecStartPost) or the unit has failed. A start or restart that
# engine_begin has asked for is waited for, not done again.
engine_start() {
  systemctl start "$SLM_ENGINE_UNIT" || fail "the engine did not become ready: $(last_engine_error)" || return
  clear_pending engine
}

last_engine_error() {
  local line
  line=$(journalctl --unit "$SLM_ENGINE_UNIT" --lines 50 --output cat 2>/dev/null | grep -iE 'error|fail' | grep -v "^$SLM_ENGINE_UNIT" | tail -n 1 || true)
  printf '%s (journalctl -u %s)\n' "${line:-it said nothing}" "$SLM_ENGINE_UNIT"
}

engine_stop() {
  systemctl stop "$SLM_ENGINE_UNIT"
}

engine_url() {
  printf 'http://%s:%s\n' "$SLM_ENGINE_HOST" "$SLM_ENGINE_PORT"
}

# While the model loads this is asked several times a second, and a program started for it would take from the engine,
# on emulated machines, what it needs to get ready. The subshell ends with what may go wrong with a connection.
engine_is_healthy() (
  exec {connection}<>"/dev/tcp/$SLM_ENGINE_HOST/$SLM_ENGINE_PORT" || exit
  printf 'GET %s HTTP/1.0\r\n\r\n' "$SLM_ENGINE_HEALTH" >&"$connection"
  read -r -t 5 _ status _ <&"$connection" && [[ $status == 200 ]]
) 2>/dev/null

# One try: true when the loaded model answers a completion of one token.
engine_ready() {
  engine_is_healthy && engine_answers 600
}

# The main process of the unit; 0 when none runs.
engine_main_pid() {
  local pid
  pid=$(systemctl show --property MainPID --value "$SLM_ENGINE_UNIT" 2>/dev/null || true)
  printf '%s\n' "${pid:-0}"
}
