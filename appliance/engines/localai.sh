# shellcheck shell=bash
# Engine LocalAI with its llama.cpp backend. The interface is described in README.md beside this file; what LocalAI is
# told and why is in localai.yaml, what is closed and what is left open in docs/localai.md.
#
# Where things are, all of it root's and read only for the engine:
#   engine/local-ai               the server
#   engine/llama-cpp/             the backend as it came
#   engine/backends/llama-cpp/    what LocalAI knows as its backend: our run.sh, which starts the real one
#   engine/models/                one model description and, in a folder that LocalAI doesn't list, the weights
#   engine/empty/                 settings, keys and downloaded backends: none, and nobody can put any there

# A request is served while the others wait in the backend: LocalAI mixes what concurrent requests say.
SLM_ENGINE_SLOTS=1
# Tokens read in one turn. A client that left is noticed between two turns.
SLM_ENGINE_BATCH=64
# Prompts of waiting clients in memory, see llama-server.sh.
# shellcheck disable=SC2034 # capacity.sh reads both
SLM_ENGINE_CACHE_MIB=512 SLM_ENGINE_CACHE_CONTEXTS=8
# Two programs instead of one, and the copies of a request in both: an allowance, not a measurement.
# shellcheck disable=SC2034 # capacity.sh reads it
SLM_CAPACITY_ENGINE_KIB=$((384 * 1024))
# Its wire differs from OpenAI's (docs/engines.md).
# shellcheck disable=SC2034 # proxy_mending.sh reads it
SLM_ENGINE_NEEDS_MENDING=yes
# It proves that the server lives; the listener opens once the model is loaded.
# shellcheck disable=SC2034 # engine_service.sh and proxy.sh read it
SLM_ENGINE_HEALTH=/readyz
# Seconds that a request waits for the other model's clients to be served, before it gets an error. A backend that
# dies while it starts is noticed no sooner.
SLM_ENGINE_SWAP_S=600
# Where it may write, on tmpfs and gone when it stops.
SLM_ENGINE_RUN_DIR=/run/slm-engine

engine_routes() {
  local unnamed=''
  # who names no model means the first one; LocalAI would take the first of the alphabet
  ! has_second_model || unnamed="?model=$SLM_MODEL_ID"
  cat <<LIST
POST /v1/chat/completions /v1/chat/completions$unnamed
POST /v1/completions /v1/completions$unnamed
GET,HEAD /v1/models /v1/models
LIST
}

# The names it serves; all others nginx answers with 404.
engine_models() {
  served_model_names
}

# It writes no prompt's state to disk, brings no benchmark, is silent while it reads, and tells nothing of its cache.
engine_can() {
  [[ $1 == second_model ]]
}

engine_install() {
  local file
  for file in local-ai llama-cpp/run.sh environment; do
    [[ -s $SLM_ENGINE_DIR/$file ]] || fail "$SLM_ENGINE_DIR/$file is missing: this image wasn't built completely" || return
  done
  install_engine_tree && lay_out_engine && leave_out_avx512 || return
  [[ -n $(engine_version) ]] || fail "local-ai does not run in this image" || return
  [[ $(engine_version) == "$SLM_ENGINE_VERSION"* ]] ||
    msg warning "local-ai says it is $(engine_version), not $SLM_ENGINE_VERSION: was another file placed under its name?"
  install_unit_file "$SLM_APPLIANCE_DIR/templates/localai/watchdog.conf" \
    "$SLM_ROOT/etc/systemd/system/slm-watchdog.service.d/engine.conf" &&
    install_engine_unit "$SLM_APPLIANCE_DIR/templates/localai/slm-engine.service"
}

# The folders that LocalAI is shown.
lay_out_engine() {
  local templates=$SLM_APPLIANCE_DIR/templates/localai
  make_folder 0755 root:root "$SLM_ENGINE_DIR/empty" &&
    make_folder 0755 root:root "$SLM_ENGINE_DIR/models" &&
    make_folder 0755 root:root "$SLM_ENGINE_DIR/models/gguf" &&
    make_folder 0755 root:root "$SLM_ENGINE_DIR/backends" &&
    make_folder 0755 root:root "$SLM_ENGINE_DIR/backends/llama-cpp" || return
  write_if_changed 0755 root:root "$SLM_ENGINE_DIR/backends/llama-cpp/run.sh" <"$templates/backend-run.sh" &&
    write_if_changed 0755 root:root "$SLM_ENGINE_DIR/backend-log" <"$templates/backend-log.sh" &&
    write_if_changed 0644 root:root "$SLM_ENGINE_DIR/only-backend" <"$templates/only-backend.sh" || return
  ln -sfnT ../../../../etc/slm-copilot/engine-model.yaml "$SLM_ENGINE_DIR/models/model.yaml" &&
    ln -sfnT "../../../models/$SLM_MODEL_FILE" "$SLM_ENGINE_DIR/models/gguf/$SLM_MODEL_FILE"
}

# The backend takes its AVX-512 build where the CPU has AVX512F, but that build uses more than F. This is the backend
# without it, for the few CPUs, and hypervisors, that have F alone: backend-run.sh chooses.
leave_out_avx512() {
  local source=$SLM_ENGINE_DIR/llama-cpp target=$SLM_ENGINE_DIR/llama-cpp-without-avx512 file
  rm -rf "$target" && make_folder 0755 root:root "$target" || return
  for file in "$source"/*; do
    case ${file##*/} in
      run.sh) write_if_changed 0755 root:root "$target/run.sh" <"$file" || return ;;
      *avx512*) ;;
      *) ln -s "../llama-cpp/${file##*/}" "$target/${file##*/}" || return ;;
    esac
  done
}

engine_configure() {
  local environment model
  environment=$(render_engine_environment) && model=$(render_engine_model "${SLM_VALUE[context_size]}") || return
  resolve_engine_key && configure_second_model || return
  # the environment last: it is what the unit waits for
  write_engine_file 0640 "$SLM_ENGINE_MODEL" "$model" && write_engine_file 0640 "$SLM_ENGINE_ENV" "$environment"
}

# The variables of this version with what configure decides filled in.
render_engine_environment() {
  local name value lines=''
  while IFS='=' read -r name value; do
    value=${value//@ADDRESS@/"$SLM_ENGINE_HOST:$SLM_ENGINE_PORT"}
    value=${value//@THREADS@/"$SLM_THREADS"}
    value=${value//@CONTEXT_SIZE@/"${SLM_VALUE[context_size]}"}
    value=${value//@MODEL@/"$SLM_MODEL_ID"}
    value=${value//@ENGINE_DIR@/"${SLM_ENGINE_DIR#"$SLM_ROOT"}"}
    value=${value//@RUNTIME_DIR@/"$SLM_ENGINE_RUN_DIR"}
    [[ ! $name$value =~ @[A-Z_]+@ ]] || fail "the engine's setting $name is not understood by this appliance" || return
    lines+="$name=$(quoted "$value")"$'\n' || return
  done <"$SLM_ENGINE_DIR/environment"
  [[ -n $lines ]] || fail "$SLM_ENGINE_DIR/environment is empty: this image wasn't built completely" || return
  # not LocalAI's, but its backend's: backend-run.sh reads it
  ! has_second_model || lines+="SLM_ONLY_BACKEND=$(quoted "$SLM_ENGINE_RUN_DIR/only-backend")"$'\n' || return
  printf '%s' "$lines"
}

# render_engine_model TOKENS   the model's description. Nothing in it depends on what a client sends.
render_engine_model() {
  local text name file cache_mib calls=''
  cache_mib=$(prompt_cache_mib "$1") || return
  name=$(quoted "$SLM_MODEL_ID") && file=$(quoted "gguf/$SLM_MODEL_FILE") || return
  read_text "$SLM_APPLIANCE_DIR/templates/localai/model.yaml.template" || fail "the model's template is missing" || return
  # shellcheck disable=SC2153 # read_text sets it
  text=$TEXT
  # only for models whose template writes tool calls in a way that this version has to be told of
  if [[ -n ${SLM_MODEL_TOOL_CALLS:-} && -r $SLM_ENGINE_DIR/tool-calls/$SLM_MODEL_TOOL_CALLS.yaml ]]; then
    read_text "$SLM_ENGINE_DIR/tool-calls/$SLM_MODEL_TOOL_CALLS.yaml" || return
    calls=$'\n'"  ${TEXT//$'\n'/$'\n'  }"
  fi
  text=${text//@NAME@/"$name"}
  text=${text//@MODEL_FILE@/"$file"}
  text=${text//@CONTEXT_SIZE@/"$1"}
  text=${text//@TEMPERATURE@/"${SLM_VALUE[temperature]}"}
  text=${text//@BATCH@/"$SLM_ENGINE_BATCH"}
  text=${text//@SLOTS@/"$SLM_ENGINE_SLOTS"}
  text=${text//@CACHE_MIB@/"$cache_mib"}
  text=${text//@TOOL_CALLS@/"$calls"}
  printf '%s\n' "$text"
  # its backend may have to wait until the other's clients are served
  ! has_second_model || printf 'grpc:\n  attempts: %s\n  attempts_sleep_time: 1\n' "$SLM_ENGINE_SWAP_S"
}

# Description and weights of the second model where LocalAI finds them, or neither.
configure_second_model() {
  local models=$SLM_ENGINE_DIR/models link text
  for link in "$models"/gguf/*; do
    [[ ${link##*/} == "$SLM_MODEL_FILE" || ${link##*/} == "${SLM_SECOND_MODEL_FILE:-}" ]] || rm -f "$link" || return
  done
  if ! has_second_model; then
    rm -f "$models/second-model.yaml" "$SLM_ENGINE_SECOND_MODEL"
    return
  fi
  text=$(render_second_model) && write_engine_file 0640 "$SLM_ENGINE_SECOND_MODEL" "$text" || return
  ln -sfnT "../../../models/$SLM_SECOND_MODEL_FILE" "$models/gguf/$SLM_SECOND_MODEL_FILE" &&
    ln -sfnT ../../../../etc/slm-copilot/engine-second-model.yaml "$models/second-model.yaml"
}

# The first one's description with the second's name, file and sizes. How its template writes tool calls nobody has told.
render_second_model() {
  local SLM_MODEL_ID=${SLM_VALUE[second_model]} SLM_MODEL_FILE=$SLM_SECOND_MODEL_FILE SLM_MODEL_TOOL_CALLS=''
  # shellcheck disable=SC2034 # read_model_shape sets them, for capacity.sh
  local MODEL_KIB MODEL_TOKEN_BYTES MODEL_TRAINED_TOKENS
  read_model_shape "$SLM_SECOND_MODEL_PATH" && render_engine_model "$(second_model_context)"
}

# quoted TEXT   in double quotes, as YAML and systemd's environment files both read it. What they read in different ways
# is no part of a name, a path or a number.
quoted() {
  [[ $1 =~ ^[]\ A-Za-z0-9@%+=:,./_[{}()-]*$ ]] || fail "a setting of the engine has a character that can't be written safely" || return
  printf '"%s"' "$1"
}

# The key that nginx and the appliance itself show LocalAI; nobody else ever sees it. Made once, 190 bits.
resolve_engine_key() {
  local key
  make_folder 0755 root:root "$SLM_CONFIG_DIR" || return
  drop_unfinished "$SLM_ENGINE_KEY"
  if [[ -n $(engine_key) ]]; then
    give 0600 root:root "$SLM_ENGINE_KEY"
    return
  fi
  key=$(generate_password) || fail "no key for the engine could be generated: openssl rand failed" || return
  mark_pending engine && write_text_atomically 0600 root:root "$SLM_ENGINE_KEY" "LOCALAI_API_KEY=$key"$'\n'
}

# The key; nothing where there is none, or something else.
engine_key() {
  local line=''
  [[ -r $SLM_ENGINE_KEY ]] || return 0
  IFS= read -r line <"$SLM_ENGINE_KEY" || true
  line=${line#LOCALAI_API_KEY=}
  [[ ! $line =~ ^[A-Za-z0-9]{32}$ ]] || printf '%s\n' "$line"
}

engine_authorization() {
  [[ -n $(engine_key) ]] || resolve_engine_key || return
  printf 'Bearer %s\n' "$(engine_key)"
}

# What the running engine works with.
engine_settings() {
  local server model name value
  server=$(engine_main_pid)
  while IFS='=' read -r -d '' name value; do
    case "$name" in
      LOCALAI_THREADS) printf 'threads=%s\n' "$value" ;;
      LOCALAI_ADDRESS) printf 'address=%s\n' "$value" ;;
    esac
  done <"$SLM_PROC/$server/environ"
  read_text "$SLM_ENGINE_MODEL" || return
  model=$TEXT
  printf 'context_size=%s\nclient_context=%s\n' "$(model_setting context_size "$model")" "$(model_setting context_size "$model")"
  printf 'temperature=%s\n' "$(model_setting temperature "$model")"
  printf 'model=%s\n' "$SLM_MODELS_DIR/$(basename "$(model_setting model "$model")")"
}

# model_setting NAME TEXT
model_setting() {
  sed -n "s/^ *$1: *//p" <<<"$2" | tr -d '"' | head -n 1
}

# engine_answers SECONDS   true when a completion of one token is answered within that time. It displaces what the
# last client has cached, into the prompt cache.
engine_answers() {
  curl -fsS --noproxy '*' --connect-timeout 5 --max-time "$1" --config <(show_engine_key) \
    -H 'Content-Type: application/json' -d "$(engine_question)" "$(engine_url)/v1/chat/completions" |
    jq -e '.choices[0].finish_reason != null and .usage.completion_tokens >= 1' >/dev/null
}

# With a system message, because templates put a long one of their own where there is none, and whoever starts the
# engine or looks after it would wait for its reading. Not by /v1/completions: its answers don't count their tokens.
engine_question() {
  printf '{"model":"%s","messages":[{"role":"system","content":"."},{"role":"user","content":"."}],"max_tokens":1}\n' \
    "$SLM_MODEL_ID"
}

# For curl, which has it from a pipe: an argument could be read by everybody on this machine.
show_engine_key() {
  printf 'header = "Authorization: Bearer %s"\n' "$(engine_key)"
}

# "busy" while somebody is connected, then the CPU time of the backend in hundredths of a second: it moves with all that
# is computed, and an idle or a stuck backend uses none. LocalAI itself tells nothing while it computes; but where it
# doesn't even say that it lives, what its backend computes reaches nobody.
engine_progress() {
  local server backend state=idle ticks=0 more
  server=$(engine_main_pid)
  ((server > 0)) && [[ -d $SLM_PROC/$server ]] && engine_lives || return
  ! engine_has_clients || state=busy
  while read -r backend; do
    more=$(cpu_ticks "$backend") || continue
    ticks=$((ticks + more))
  done < <(engine_backends "$server")
  printf '%s %s\n' "$state" "$ticks"
}

engine_lives() {
  curl -fsS --noproxy '*' --max-time 5 --output /dev/null "$(engine_url)$SLM_ENGINE_HEALTH" 2>/dev/null
}

# Somebody is connected to the engine's port.
engine_has_clients() {
  local lines port
  printf -v port '%04X' "$SLM_ENGINE_PORT"
  mapfile -t lines <"$SLM_PROC/net/tcp"
  # local address, remote address, state: 01 is connected
  [[ ${lines[*]} =~ \ 0100007F:$port\ [0-9A-F]{8}:[0-9A-F]{4}\ 01\  ]]
}

# engine_backends PID   the processes that PID has started, one a line.
engine_backends() {
  local file line
  for file in "$SLM_PROC"/[0-9]*/stat; do
    read -r line 2>/dev/null <"$file" || continue
    line=${line##*) }
    line=${line#* }
    [[ ${line%% *} != "$1" ]] || { file=${file%/stat} && printf '%s\n' "${file##*/}"; }
  done
}

# cpu_ticks PID   of all its threads, in hundredths of a second.
cpu_ticks() {
  local line
  local -a fields
  read -r line 2>/dev/null <"$SLM_PROC/$1/stat" || return
  read -ra fields <<<"${line##*) }"
  printf '%s\n' $((fields[11] + fields[12]))
}

engine_version() {
  "$SLM_ENGINE_DIR/local-ai" run --version 2>/dev/null | sed -n '1s/^\([A-Za-z0-9.+_-]*\).*/\1/p'
}

# Which of its builds the backend chose: avx512, avx2, avx or fallback.
engine_cpu_variant() {
  local pid variant=''
  while read -r pid; do
    variant=$(tr '\0' '\n' <"$SLM_PROC/$pid/cmdline" 2>/dev/null | sed -n 's#^.*/llama-cpp-\([a-z0-9]*\)$#\1#p;T;q' || true)
    [[ -z $variant ]] || break
  done < <(engine_backends "$(engine_main_pid)")
  printf '%s\n' "${variant:-unknown}"
}

engine_bench() {
  fail "LocalAI brings no benchmark of its own"
}
