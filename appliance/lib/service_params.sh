# shellcheck shell=bash
# The parameters in the two forms one-apps and its users want.

# ONE_SERVICE_PARAMS: name, stage, description, head of the USER_INPUTS entry.
list_service_parameters() {
  local name
  for name in "${SLM_PARAM_NAMES[@]}"; do
    ONE_SERVICE_PARAMS+=("$name" "${SLM_PARAM_STAGE[$name]}" "${SLM_PARAM_HELP[$name]}" "${SLM_PARAM_INPUT[$name]}")
  done
}

print_parameter_help() {
  local name default
  printf '%s\n\n' "$ONE_SERVICE_DESCRIPTION"
  printf 'USAGE: service install | configure | bootstrap | help\n\nContext variables (all optional, empty = default):\n'
  for name in "${SLM_PARAM_NAMES[@]}"; do
    default=${SLM_PARAM_DEFAULT[$name]-}
    printf '  %-30s %s\n' "$name" "${SLM_PARAM_HELP[$name]}"
    printf '  %-30s   accepted: %s; default: %s\n' '' "${SLM_PARAM_ACCEPTED[$name]}" "${default:-none}"
  done
}

# /etc/one-appliance/metadata, where one-apps' own library offers to write it.
write_service_metadata() {
  if declare -F create_one_service_metadata >/dev/null; then
    create_one_service_metadata
  fi
}
