# shellcheck shell=bash
# How a step stops: one line for people, kept so that the console and the MOTD can repeat it.

# one-apps' msg where its service.sh sourced us; the same form where it didn't (unit scripts, tests).
if ! declare -F msg >/dev/null; then
  msg() {
    local kind=$1
    shift
    case "$kind" in
      info) printf '[%(%a %b %e %T %Z %Y)T] => INFO: %s\n' -1 "$*" ;;
      *) printf '[%(%a %b %e %T %Z %Y)T] => %s: %s\n' -1 "${kind^^}" "$*" >&2 ;;
    esac
    [[ $kind != error ]]
  }
fi

# fail REASON: says it, remembers it, returns 1. Write `fail "..." || return` so that it also stops a caller
# running inside a condition, where bash ignores set -e.
fail() {
  local reason=$1
  remember_failure "$reason"
  msg error "$reason" || return 1
}

# The first reason is the cause; what breaks after it is noise.
remember_failure() {
  local folder=${SLM_FAILURE_FILE%/*}
  [[ -d $folder ]] || (umask 0022 && mkdir -p "$folder") || return 0
  flatten "$1" 600
  [[ -s $SLM_FAILURE_FILE ]] || printf '%s\n' "$FLAT" >"$SLM_FAILURE_FILE" || return 0
}

forget_failure() {
  [[ ! -e $SLM_FAILURE_FILE ]] || rm -f "$SLM_FAILURE_FILE"
}

# What may be shown on a console: plain ASCII, in bounds. Control characters and bytes beyond ASCII would let a value
# draw there, and half a UTF-8 character would make a report unreadable.
one_line() {
  flatten "$1" 600
  printf '%s' "$FLAT"
}

# flatten TEXT LONGEST   the same in FLAT, without the price of a subshell. Cut first: a value may have 100 KB.
flatten() {
  FLAT=${1:0:$2}
  FLAT=${FLAT//[[:cntrl:]]/ }
  FLAT=${FLAT//[^ -~]/?}
}
