# shellcheck shell=bash
# Engine llama-server (llama.cpp). The interface is described in README.md beside this file.

# Tokens read in one turn of the engine's loop. Between turns it starts new clients and lets go of those that left:
# large values read a prompt a little quicker, small ones keep everybody else from waiting on slow machines.
SLM_ENGINE_BATCH=64
# Clients served at once; they share one context (unified KV), so one alone may use all of it.
SLM_ENGINE_SLOTS=4
# Prompts of waiting clients in memory: at least so many MiB, and up to so many full contexts where the machine has
# room. Each new request moves what others have had read there, and what is larger than all of it is lost.
# shellcheck disable=SC2034 # capacity.sh reads both
SLM_ENGINE_CACHE_MIB=512 SLM_ENGINE_CACHE_CONTEXTS=8
# What tells that it is alive.
# shellcheck disable=SC2034 # engine_service.sh and proxy.sh read it
SLM_ENGINE_HEALTH=/health
# A comment on a silent stream, in seconds: clients and proxies give up on a connection without bytes.
SLM_ENGINE_PING_SECONDS=5

engine_routes() {
  cat <<'LIST'
POST /v1/chat/completions /v1/chat/completions
POST /v1/completions /v1/completions
GET,HEAD /v1/models /v1/models
LIST
}

# What not every engine can do.
engine_can() {
  case $1 in
    keep_prompts | bench | speak_while_reading | tell_cache) ;;
    *) return 1 ;;
  esac
}

# It asks for no key.
engine_authorization() {
  :
}

engine_install() {
  [[ -x $SLM_ENGINE_DIR/llama-server ]] || fail "$SLM_ENGINE_DIR/llama-server is missing: this image wasn't built completely" || return
  install_engine_tree || return
  [[ -n $(engine_version) ]] || fail "llama-server does not run in this image: $(missing_libraries)" || return
  install_engine_unit "$SLM_APPLIANCE_DIR/templates/slm-engine.service"
}

engine_configure() {
  local environment
  environment=$(render_engine_environment) || return
  make_folder 0755 root:root "$SLM_CONFIG_DIR" || return
  write_engine_file 0640 "$SLM_ENGINE_ENV" "$environment"
}

# Only what configure decides; what never changes is in the unit. --threads-batch has no variable of the engine's.
render_engine_environment() {
  local cache_mib
  cache_mib=$(prompt_cache_mib "${SLM_VALUE[context_size]}") || return
  printf '%s\n' "LLAMA_ARG_MODEL=$SLM_MODEL_PATH
LLAMA_ARG_ALIAS=$SLM_MODEL_ID
LLAMA_ARG_CTX_SIZE=${SLM_VALUE[context_size]}
LLAMA_ARG_TEMPERATURE=${SLM_VALUE[temperature]}
LLAMA_ARG_THREADS=$SLM_THREADS
SLM_THREADS_BATCH=$SLM_THREADS_BATCH
LLAMA_ARG_N_PARALLEL=$SLM_ENGINE_SLOTS
LLAMA_ARG_BATCH=$SLM_ENGINE_BATCH
LLAMA_ARG_UBATCH=$SLM_ENGINE_BATCH
LLAMA_ARG_CACHE_RAM=$cache_mib
LLAMA_ARG_SSE_PING_INTERVAL=$SLM_ENGINE_PING_SECONDS
LLAMA_ARG_THREADS_HTTP=$((SLM_MAX_REQUESTS + 8))"
}

# engine_answers SECONDS   true when a completion of one token is answered within that time. No client's cached
# prompt is used or extended.
engine_answers() {
  curl -fsS --noproxy '*' --connect-timeout 5 --max-time "$1" -H 'Content-Type: application/json' \
    -d '{"prompt":"Hello","max_tokens":1,"cache_prompt":false}' "$(engine_url)/v1/completions" |
    jq -e '.choices[0].finish_reason != null and .usage.completion_tokens >= 1' >/dev/null
}

# engine_idle_prompts   SLOT TOKENS, one a line: what it has in memory for clients it is not busy with.
engine_idle_prompts() {
  curl -fsS --noproxy '*' --max-time 2 "$(engine_url)/slots" 2>/dev/null |
    jq -r '.[] | select(.is_processing | not) | select(.n_prompt_tokens > 0) | "\(.id) \(.n_prompt_tokens)"' 2>/dev/null
}

# engine_save_prompt SLOT NAME SECONDS   writes it to that file in $SLM_KEPT_DIR.
engine_save_prompt() {
  engine_slot_action save "$@"
}

# engine_load_prompt SLOT NAME SECONDS
engine_load_prompt() {
  engine_slot_action restore "$@"
}

engine_slot_action() {
  curl -fsS --noproxy '*' --max-time "$4" -o /dev/null -H 'Content-Type: application/json' \
    -d "{\"filename\":\"$3\"}" "$(engine_url)/slots/$2?action=$1" 2>/dev/null
}

# engine_prompt_bytes FILE   FIRST COUNT: where the tokens of a saved prompt stand. Six words of 4 bytes come before
# them, the last of which is their number.
engine_prompt_bytes() {
  local tokens
  tokens=$(od -An -tu4 -j20 -N4 "$1" 2>/dev/null | tr -d ' ') && [[ -n $tokens ]] && printf '24 %s\n' $((tokens * 4))
}

# What decides whether a saved prompt can be loaded, beside the model: its settings and its program.
engine_state_facts() {
  printf '%s\n' "${LLAMA_ARG_CTX_SIZE:-}" "${LLAMA_ARG_CACHE_TYPE_K:-}" "${LLAMA_ARG_CACHE_TYPE_V:-}" "${LLAMA_ARG_FLASH_ATTN:-}" &&
    stat -L -c '%s %Y' "$SLM_ENGINE_DIR/llama-server" "$SLM_ENGINE_DIR"/libllama.so.0
}

# Has the running engine keep what idle clients have had read. Never fails, and takes seconds at most.
engine_keep_prompts() {
  local tokens
  while read -r _ tokens; do
    if ((tokens >= SLM_KEPT_LEAST_TOKENS)); then
      systemctl reload "$SLM_ENGINE_UNIT" || true
      return 0
    fi
  done < <(engine_idle_prompts)
}

# What the running engine works with: what it was told, and what it says itself.
engine_settings() {
  local server name value
  server=$(engine_main_pid)
  while IFS='=' read -r -d '' name value; do
    case "$name" in
      LLAMA_ARG_THREADS) printf 'threads=%s\n' "$value" ;;
      LLAMA_ARG_CTX_SIZE) printf 'context_size=%s\n' "$value" ;;
    esac
  done <"$SLM_PROC/$server/environ"
  tr '\0' '\n' <"$SLM_PROC/$server/cmdline" | sed -n '/^--host$/{n;s/^/address=/p}'
  curl -fsS --noproxy '*' --max-time 20 "$(engine_url)/props" | jq -r '.default_generation_settings as $told |
    "client_context=\($told.n_ctx)", "temperature=\($told.params.temperature)", "model=\(.model_path)"'
}

# Prints "busy" or "idle" and counters that move with every batch of a prompt and every token of an answer. The
# engine tells them also while it computes. Nothing of what clients asked is printed.
engine_progress() {
  local slots state=idle
  slots=$(curl -fsS --noproxy '*' --max-time 5 "$(engine_url)/slots" 2>/dev/null) || return
  [[ $slots != *'"is_processing":true'* ]] || state=busy
  printf '%s ' "$state"
  grep -oE '"(id_task|n_prompt_tokens_processed|n_decoded)":-?[0-9]+' <<<"$slots" | tr -dc '0-9\n' | tr '\n' ' ' || true
  printf '\n'
}

engine_version() {
  "$SLM_ENGINE_DIR/llama-server" --version 2>&1 | sed -n 's/^version: //p'
}

missing_libraries() {
  local missing
  missing=$(ldd "$SLM_ENGINE_DIR/llama-server" 2>/dev/null | awk '/not found/ { printf "%s ", $1 }' || true)
  printf '%s\n' "${missing:+missing libraries: $missing}"
}

# Which of its CPU libraries the running engine chose, such as "zen4" or "haswell".
engine_cpu_variant() {
  local pid variant=''
  pid=$(engine_main_pid)
  if ((pid > 0)); then
    variant=$(sed -n 's/.*libggml-cpu-\([a-z0-9_]*\)\.so.*/\1/p;T;q' "$SLM_PROC/$pid/maps" 2>/dev/null || true)
  fi
  printf '%s\n' "${variant:-unknown}"
}

# engine_bench [ARGUMENT...]   llama-bench on the baked model with the resolved threads, JSON on stdout.
engine_bench() {
  "$SLM_ENGINE_DIR/llama-bench" --model "$SLM_MODEL_PATH" --threads "$SLM_THREADS" --output json "$@"
}
