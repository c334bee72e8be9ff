# shellcheck shell=bash
# A second model beside the image's own: one more GGUF file in the models' folder, named by the context and off without
# it. Only one of the two is in memory at a time, so the machine has to hold the larger of them, never both.

has_second_model() {
  [[ -n ${SLM_VALUE[second_model]:-} ]]
}

# Sets SLM_SECOND_MODEL_FILE and SLM_SECOND_MODEL_PATH; both are empty where there is none.
resolve_second_model() {
  local name=${SLM_VALUE[second_model]} magic=''
  SLM_SECOND_MODEL_FILE='' SLM_SECOND_MODEL_PATH=''
  has_second_model || return 0
  engine_can second_model ||
    fail "ONEAPP_SLM_SECOND_MODEL: the engine $SLM_ENGINE of this image serves one model only; accepted here: nothing. Leave it empty, or use an image with the engine localai" || return
  [[ $name != "$SLM_MODEL_ID" && $name.gguf != "$SLM_MODEL_FILE" ]] ||
    fail "ONEAPP_SLM_SECOND_MODEL: '$name' is the first model; $(accepted_second_models)" || return
  # shellcheck disable=SC2034 # the engine's file reads it
  SLM_SECOND_MODEL_FILE=$name.gguf SLM_SECOND_MODEL_PATH=$SLM_MODELS_DIR/$name.gguf
  [[ -f $SLM_SECOND_MODEL_PATH && -s $SLM_SECOND_MODEL_PATH ]] ||
    fail "ONEAPP_SLM_SECOND_MODEL: there is no file $SLM_SECOND_MODEL_PATH; $(accepted_second_models)" || return
  IFS= read -r -N 4 magic <"$SLM_SECOND_MODEL_PATH" || true
  [[ $magic == GGUF ]] ||
    fail "ONEAPP_SLM_SECOND_MODEL: $SLM_SECOND_MODEL_PATH is not a GGUF file; accepted here: a model in that format" || return
  # people place it with whatever mode they have; the engine's user reads it
  give 0644 root:root "$SLM_SECOND_MODEL_PATH"
}

# What could be named here, in words.
accepted_second_models() {
  local file name names=''
  for file in "$SLM_MODELS_DIR"/*.gguf; do
    name=${file##*/}
    [[ ! -f $file || $name == "$SLM_MODEL_FILE" ]] || names+=" ${name%.gguf}"
  done
  printf 'accepted here: %s' "${names:+one of$names, or }nothing"
  [[ -n $names ]] || printf ' as long as no other GGUF file lies in %s' "$SLM_MODELS_DIR"
}

# second_model_context   its context in tokens: the first one's, but never more than it was trained for. After
# read_model_shape of it.
second_model_context() {
  local context=${SLM_VALUE[context_size]}
  ((MODEL_TRAINED_TOKENS == 0 || context <= MODEL_TRAINED_TOKENS)) || context=$MODEL_TRAINED_TOKENS
  echo "$context"
}

# Does it fit in the first one's place? What is known of the first stays as it is: these are local to us.
check_second_capacity() {
  has_second_model || return 0
  # shellcheck disable=SC2034 # read_model_shape sets them, for capacity.sh
  local MODEL_KIB MODEL_TOKEN_BYTES MODEL_TRAINED_TOKENS machine context need fixed
  local cache=$((${SLM_ENGINE_CACHE_MIB:-0} * 1024))
  machine=$(machine_memory_kib) || return
  read_model_shape "$SLM_SECOND_MODEL_PATH" ||
    fail "ONEAPP_SLM_SECOND_MODEL: the size of $SLM_SECOND_MODEL_PATH could not be read" || return
  context=$(second_model_context)
  ((context == SLM_VALUE[context_size])) ||
    msg warning "ONEAPP_SLM_SECOND_MODEL: ${SLM_VALUE[second_model]} was trained for $context tokens and gets that many, not ${SLM_VALUE[context_size]}"
  ((MODEL_TOKEN_BYTES > 0)) ||
    msg warning "ONEAPP_SLM_SECOND_MODEL: the header of ${SLM_VALUE[second_model]} doesn't tell what a token of context costs: only the model itself is checked against the memory"
  # check_capacity has said that this can't be told
  ((machine > 0)) || return 0
  fixed=$(fixed_kib "$cache")
  need=$((fixed + $(context_kib "$context") + machine / SLM_CAPACITY_SLACK))
  ((need > machine)) || return 0
  fail "ONEAPP_SLM_SECOND_MODEL: ${SLM_VALUE[second_model]} does not fit in the first model's place: $(memory_sum "$context" "$cache") + $(in_units $((machine / SLM_CAPACITY_SLACK))) kept free = $(in_units "$need") of $(in_units "$machine"); choose a smaller one or a smaller context, or give the VM $(enough_gib "$context" "$fixed") GiB"
}

# The report's line after the first model's; nothing without one.
report_second_model() {
  ! has_second_model || printf '\nsecond_model=%s' "${SLM_VALUE[second_model]}"
}

# served_model_names   one a line, the first model first.
served_model_names() {
  printf '%s\n' "$SLM_MODEL_ID"
  ! has_second_model || printf '%s\n' "${SLM_VALUE[second_model]}"
}
