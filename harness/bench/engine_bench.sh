#!/bin/bash
# The engine's own benchmark in the guest, through the engine interface, as the engine's user and with the limits of its
# unit. The engine runs meanwhile; whether it had work is told on stderr.
#
# engine_bench.sh SECONDS THREADS ARGUMENT...   THREADS: a number, or decode or prefill for what the appliance chose
set -euo pipefail

export SLM_APPLIANCE_DIR=/opt/slm-copilot/appliance
UNIT=slm-engine.service
REPORT=/etc/one-appliance/config
ENVIRONMENT=/etc/slm-copilot/engine.env

# What of a unit bears on speed and memory and has the same name where it is shown and where it is set.
LIMITS=(
  AllowedCPUs AllowedMemoryNodes CPUAffinity CPUWeight Environment LimitMEMLOCK MemoryHigh MemoryMax Nice
  NUMAMask NUMAPolicy OOMScoreAdjust
)

load_appliance() {
  local file
  for file in paths failure atomic pending units flavor model; do
    # shellcheck source=/dev/null
    . "$SLM_APPLIANCE_DIR/lib/$file.sh"
  done
  load_flavor
}

chosen_threads() {
  local threads=''
  case $1 in
    prefill) threads=$(sed -n 's/^SLM_THREADS_BATCH=//p' "$ENVIRONMENT") ;;
    decode) ;;
    *) threads=$1 ;;
  esac
  if [[ -z $threads ]]; then
    threads=$(sed -n 's/^threads=//p' "$REPORT")
  fi
  printf '%s\n' "$threads"
}

# One call for all of them: each takes as long as decoding a few tokens.
unit_properties() {
  systemctl show "${LIMITS[@]/#/--property=}" --property=User --property=Group "$UNIT"
}

# Those that are set, as systemd-run takes them.
unit_limits() {
  local name value
  while IFS='=' read -r name value; do
    case $value in
      '' | n/a | '[not set]') ;;
      infinity) [[ $name != LimitMEMLOCK ]] || printf '%s\n' "--property=$name=$value" ;;
      *) printf '%s\n' "--property=$name=$value" ;;
    esac
  done < <(unit_properties)
}

bench_as_the_engine() {
  local seconds=$1 threads=$2 limits
  shift 2
  mapfile -t limits < <(unit_limits)
  # RuntimeMaxSec: who gives up waiting ends systemd-run, but not what it has started.
  systemd-run --quiet --pipe --wait --collect --property="RuntimeMaxSec=$seconds" "${limits[@]}" \
    --setenv=SLM_APPLIANCE_DIR --setenv="SLM_THREADS=$threads" \
    bash -c "set -euo pipefail; $(declare -f load_appliance); load_appliance; resolve_model; engine_bench \"\$@\"" \
    engine-bench "$@" </dev/null
}

main() {
  local seconds=$1 threads
  threads=$(chosen_threads "$2")
  shift 2
  load_appliance
  printf 'slm-bench: before: %s\n' "$(engine_progress)" >&2
  bench_as_the_engine "$seconds" "$threads" "$@"
  printf 'slm-bench: after: %s\n' "$(engine_progress)" >&2
}

main "$@"
