# shellcheck shell=bash
# Does the model with this context fit this machine's memory? Asked before anything is configured: an engine that is
# killed for memory, or that reads its weights from disk over and over, is worse than a refusal with the figures.

# Program, libraries, and the buffers one batch of any model up to about 30 B parameters is computed in. Flash
# attention keeps them small; measured: 40 MiB with a model of 135 M parameters.
SLM_CAPACITY_ENGINE_KIB=$((128 * 1024))
# What attention's mask costs for each token of context, at the batch sizes the engine is started with.
SLM_CAPACITY_MASK_BYTES=256
# Kernel, systemd, nginx, sshd, journal.
SLM_CAPACITY_SYSTEM_KIB=$((384 * 1024))
# One part in so many stays free: the weights pass through the page cache and must not be pushed out of it, 24 requests
# of 10 MB may wait, and people log in and install things. A machine without slack falls off a cliff.
SLM_CAPACITY_SLACK=5

check_capacity() {
  local machine context=${SLM_VALUE[context_size]}
  machine=$(machine_memory_kib) || return
  read_model_shape "$SLM_MODEL_PATH" || fail "the size of the model $SLM_MODEL_PATH could not be read" || return
  check_trained_window "$context" || return
  if ((MODEL_TOKEN_BYTES == 0)); then
    msg warning "the model's header doesn't tell what a token of context costs: only the model itself is checked against the memory"
  fi
  if ((machine == 0)); then
    msg warning "$SLM_PROC/meminfo doesn't tell how much memory there is: whether the model fits is not checked"
    return 0
  fi
  check_memory "$machine" "$context"
}

# check_trained_window TOKENS   the engine gives one client at most the window the model was trained for. More is of
# use only when several clients share it, and beyond all of them of none.
check_trained_window() {
  local context=$1 slots=${SLM_ENGINE_SLOTS:-1}
  ((MODEL_TRAINED_TOKENS > 0 && context > MODEL_TRAINED_TOKENS)) || return 0
  if ((context > MODEL_TRAINED_TOKENS * slots)); then
    fail "ONEAPP_SLM_CONTEXT_SIZE: $context tokens are of no use: the model was trained for $MODEL_TRAINED_TOKENS and $slots clients are served at once; accepted here: at most $((MODEL_TRAINED_TOKENS * slots))" || return
  fi
  msg warning "ONEAPP_SLM_CONTEXT_SIZE: the model was trained for $MODEL_TRAINED_TOKENS tokens, more than that no single client gets; the rest of $context serves clients that ask at the same time"
}

# check_memory MACHINE_KIB TOKENS
check_memory() {
  local machine=$1 context=$2 slack fixed most need smallest=${SLM_PARAM_MINIMUM[ONEAPP_SLM_CONTEXT_SIZE]}
  local cache=$((${SLM_ENGINE_CACHE_MIB:-0} * 1024))
  slack=$((machine / SLM_CAPACITY_SLACK))
  fixed=$(fixed_kib "$cache")
  need=$((fixed + context * (MODEL_TOKEN_BYTES + SLM_CAPACITY_MASK_BYTES) / 1024 + slack))
  ((need > machine)) || return 0
  most=$(((machine - slack - fixed) * 1024 / (MODEL_TOKEN_BYTES + SLM_CAPACITY_MASK_BYTES) / 256 * 256))
  if ((most < smallest)); then
    fail "this VM has $(in_units "$machine") of memory, the model alone needs $(memory_sum "$smallest" "$cache") and a fifth of the memory free; give the VM $(enough_gib "$smallest" "$fixed") GiB"
  else
    fail "ONEAPP_SLM_CONTEXT_SIZE: $context tokens do not fit: $(memory_sum "$context" "$cache") + $(in_units "$slack") kept free = $(in_units "$need") of $(in_units "$machine"); at most $most tokens fit here, or give the VM $(enough_gib "$context" "$fixed") GiB"
  fi
}

# prompt_cache_mib TOKENS   memory for what waiting clients have had read: all that the model, this context and the slack
# leave, from SLM_ENGINE_CACHE_MIB up to SLM_ENGINE_CACHE_CONTEXTS full contexts. A conversation that doesn't fit is
# read anew whenever another client has asked in between. After check_capacity.
prompt_cache_mib() {
  local machine least=$SLM_ENGINE_CACHE_MIB most left
  machine=$(machine_memory_kib) || return
  if ((machine == 0 || ${MODEL_TOKEN_BYTES:-0} == 0)); then
    echo "$least"
    return
  fi
  left=$((machine - machine / SLM_CAPACITY_SLACK - MODEL_KIB - SLM_CAPACITY_ENGINE_KIB - SLM_CAPACITY_SYSTEM_KIB - $(context_kib "$1")))
  left=$((left / 1024)) most=$(($1 * MODEL_TOKEN_BYTES * SLM_ENGINE_CACHE_CONTEXTS / 1048576))
  left=$((left < most ? left : most))
  echo $((left > least ? left : least))
}

# memory_sum TOKENS CACHE_KIB   the terms as people read them.
memory_sum() {
  local context=$1 cache=$2
  printf '%s for the model + %s for %s tokens of context + %s for the engine + %s for its prompt cache + %s for the system' \
    "$(in_units "$MODEL_KIB")" "$(in_units "$(context_kib "$context")")" "$context" \
    "$(in_units "$SLM_CAPACITY_ENGINE_KIB")" "$(in_units "$cache")" "$(in_units "$SLM_CAPACITY_SYSTEM_KIB")"
}

# fixed_kib CACHE_KIB   what the model needs without any context.
fixed_kib() {
  echo $((MODEL_KIB + SLM_CAPACITY_ENGINE_KIB + $1 + SLM_CAPACITY_SYSTEM_KIB))
}

context_kib() {
  echo $(($1 * (MODEL_TOKEN_BYTES + SLM_CAPACITY_MASK_BYTES) / 1024))
}

# enough_gib TOKENS FIXED_KIB   whole GiB of a VM in which that many tokens fit; its kernel keeps some for itself.
enough_gib() {
  local kib=$(($(context_kib "$1") + $2))
  kib=$((kib * SLM_CAPACITY_SLACK / (SLM_CAPACITY_SLACK - 1)))
  echo $(((kib * 104 / 100 + 1048575) / 1048576))
}

# in_units KIB   "512 MiB" or "13.4 GiB".
in_units() {
  local tenths
  if (($1 < 1048576)); then
    printf '%d MiB' $((($1 + 512) / 1024))
  else
    tenths=$((($1 * 10 + 524288) / 1048576))
    printf '%d.%d GiB' $((tenths / 10)) $((tenths % 10))
  fi
}

# Memory this machine may really use: all of it, or the tightest limit of a control group above us; 0 when unknown.
machine_memory_kib() {
  local name kib least=0 folder file
  if [[ -r $SLM_PROC/meminfo ]]; then
    while read -r name kib _; do
      [[ $name != MemTotal: ]] || least=$kib
    done <"$SLM_PROC/meminfo"
  fi
  [[ $least =~ ^[0-9]+$ ]] || least=0
  find_cgroup_folders '' "$SLM_CGROUP" "$SLM_CGROUP/unified"
  local -a folders=("${CGROUP_FOLDERS[@]}")
  find_cgroup_folders memory "$SLM_CGROUP/memory"
  for folder in "${folders[@]}" "${CGROUP_FOLDERS[@]}"; do
    for file in memory.max memory.limit_in_bytes; do
      # "max" is no number, and version 1 has one of 19 digits for no limit
      read_first "$folder/$file" && [[ $FIRST =~ ^[0-9]{1,18}$ ]] || continue
      kib=$((FIRST / 1024))
      if ((kib > 0 && (least == 0 || kib < least))); then
        least=$kib
      fi
    done
  done
  echo "$least"
}
