# shellcheck shell=bash
# What is baked into this image: flavor, engine, model.

load_flavor() {
  [[ -r $SLM_FLAVOR_FILE ]] || fail "$SLM_FLAVOR_FILE is missing: this image wasn't built completely" || return
  # shellcheck source=/dev/null
  . "$SLM_FLAVOR_FILE"
  local name
  for name in SLM_FLAVOR SLM_VERSION SLM_ENGINE SLM_ENGINE_VERSION SLM_MODEL_ID SLM_MODEL_FILE; do
    [[ -n ${!name:-} ]] || fail "$SLM_FLAVOR_FILE doesn't set $name: this image wasn't built completely" || return
  done
  local engine_file=$SLM_APPLIANCE_DIR/engines/$SLM_ENGINE.sh
  [[ -r $engine_file ]] || fail "engine '$SLM_ENGINE' isn't built into this image: no $engine_file" || return
  # shellcheck source=/dev/null
  . "$SLM_APPLIANCE_DIR/lib/engine_service.sh" && . "$engine_file"
}

# flavor_values NAME DEFAULT...   values without taking over the others, in one line; the defaults where the image isn't
# built yet. Call it in a subshell.
flavor_values() {
  # shellcheck source=/dev/null
  [[ ! -r $SLM_FLAVOR_FILE ]] || . "$SLM_FLAVOR_FILE"
  while (($# > 0)); do
    printf '%s ' "${!1:-$2}"
    shift 2
  done
  printf '\n'
}
