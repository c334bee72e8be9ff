# shellcheck shell=bash
# The model baked into the image.

# Sets SLM_MODEL_PATH.
resolve_model() {
  SLM_MODEL_PATH=$SLM_MODELS_DIR/$SLM_MODEL_FILE
  [[ -s $SLM_MODEL_PATH ]] || fail "the model $SLM_MODEL_PATH is missing or empty: this image wasn't built completely" || return
  local magic=''
  IFS= read -r -N 4 magic <"$SLM_MODEL_PATH" || true
  [[ $magic == GGUF ]] || fail "the model $SLM_MODEL_PATH is not a GGUF file: this image wasn't built completely"
}

# The engine's user reads it, nobody but root writes it.
install_model() {
  resolve_model && give 0755 root:root "$SLM_MODELS_DIR" && give 0644 root:root "$SLM_MODEL_PATH" &&
    read_model_shape "$SLM_MODEL_PATH"
}
