# shellcheck shell=bash
# What appliance scripts may call. Names and behaviour are those of one-apps.

# msg LEVEL TEXT...: info goes to stdout, everything else to stderr.
# Returns 1 for `error` and 2 for an unknown level: under `set -e` such a statement ends the stage.
msg() {
  local level=$1
  shift
  case "${level}" in
    info) echo "INFO: $*" ;;
    debug | warning) echo "${level^^}: $*" >&2 ;;
    error)
      echo "ERROR: $*" >&2
      return 1
      ;;
    *)
      echo "UNKNOWN [${level}]: $*" >&2
      return 2
      ;;
  esac
}

# gen_password [LENGTH]: letters and digits, 16 unless told otherwise.
gen_password() {
  local length=${1:-16} password='' chunk
  while ((${#password} < length)); do
    chunk=$(head -c 256 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9')
    password+=${chunk}
  done
  printf '%s\n' "${password:0:length}"
}

# The first global IPv4 address of this machine, or the loopback's.
get_local_ip() {
  local address
  address=$(ip -4 -oneline address show scope global up 2>/dev/null | head -n 1)
  address=${address#*inet }
  address=${address%%/*}
  printf '%s\n' "${address:-127.0.0.1}"
}

# is_true NAME: the value of the variable with that name is 1, true, yes or y.
is_true() {
  local value=${!1:-}
  case "${value,,}" in
    1 | true | yes | y) return 0 ;;
    *) return 1 ;;
  esac
}

# Writes what the appliance says of itself as YAML.
create_one_service_metadata() {
  local description=${ONE_SERVICE_DESCRIPTION:-}
  cat >"${ONE_SERVICE_METADATA}" <<EOF
---
name: "${ONE_SERVICE_NAME:-}"
version: "${ONE_SERVICE_VERSION:-}"
build: ${ONE_SERVICE_BUILD:-}
short_description: "${ONE_SERVICE_SHORT_DESCRIPTION:-}"
description: |
  ${description//$'\n'/$'\n'  }
EOF
}

# Prints the parameters of ONE_SERVICE_PARAMS: groups of name, stage, description, input.
default_service_help() {
  local index
  printf '%s\n\n' "${ONE_SERVICE_NAME:-appliance} ${ONE_SERVICE_VERSION:-}"
  for ((index = 0; index < ${#ONE_SERVICE_PARAMS[@]}; index += 4)); do
    printf '%s (%s)\n    %s\n' \
      "${ONE_SERVICE_PARAMS[index]}" "${ONE_SERVICE_PARAMS[index + 1]}" "${ONE_SERVICE_PARAMS[index + 2]}"
  done
}
