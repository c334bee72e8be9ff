#!/bin/bash
# What LocalAI starts as its backend. The real one writes requests and the beginnings of messages to its standard
# output and error; LocalAI keeps both in files that only ever grow. Here they end in backend-log, which lets through
# what comes before the first client can be there.
set -euo pipefail

HERE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
readonly HERE ENGINE_DIR=$HERE/../.. PROC=${SLM_PROC:-/proc}

# The AVX-512 build needs what the backend's own script doesn't ask for.
choose_backend() {
  local flags feature
  flags=" $(sed -n 's/^flags[[:space:]]*: //p;T;q' "$PROC/cpuinfo") "
  if [[ $flags == *' avx512f '* ]]; then
    for feature in avx512bw avx512dq avx512vl; do
      if [[ $flags != *" $feature "* ]]; then
        printf '%s\n' "$ENGINE_DIR/llama-cpp-without-avx512"
        return
      fi
    done
  fi
  printf '%s\n' "$ENGINE_DIR/llama-cpp"
}

# other machines to compute on, and another number of requests at once, are not the environment's to say
unset LLAMACPP_GRPC_SERVERS LLAMACPP_PARALLEL
# should a file be at its limit, the backend goes on; should the log's reader not begin or die, somebody else reads,
# because the backend's own script ends when it can't write
trap '' PIPE XFSZ
backend=$(choose_backend)
exec > >(systemd-cat --identifier=slm-engine --level-prefix=false "$ENGINE_DIR/backend-log" || exec cat >/dev/null) 2>&1
# after the reader of the log, which must not hold what is locked
if [[ -n ${SLM_ONLY_BACKEND:-} ]]; then
  # shellcheck source=/dev/null
  . "$ENGINE_DIR/only-backend"
  become_only_backend "$SLM_ONLY_BACKEND" "${*: -1}"
fi
exec "$backend/run.sh" "$@"
