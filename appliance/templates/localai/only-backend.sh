# shellcheck shell=bash
# Sourced by backend-run.sh where a second model is served: one backend, and with it one model, in memory at a time.
# LocalAI starts a backend for each model, and its own limit (LOCALAI_MAX_ACTIVE_BACKENDS) doesn't hold: docs/localai.md.
#
# The backend that runs holds a lock, which is gone with it whatever it dies of, and after its memory. One that comes
# waits until the other serves nobody, and ends it. LocalAI finds it dead at the next request for its model, and starts
# another one.

# Seconds without a client after which a backend may go. LocalAI looks every second whether a new one listens, and has it
# load its model then: that is no time without work.
SLM_BACKEND_QUIET_S=${SLM_BACKEND_QUIET_S:-5}
# Seconds with a client, but without any CPU time, after which it is taken for hung.
SLM_BACKEND_STALLED_S=${SLM_BACKEND_STALLED_S:-120}
SLM_BACKEND_LOOK_S=${SLM_BACKEND_LOOK_S:-0.5}

# become_only_backend FILE ADDRESS   returns when nobody else has the lock on FILE, and tells there who has it now.
become_only_backend() {
  local lock
  BUSY_SINCE=$SECONDS MOVED_SINCE=$SECONDS SEEN_TICKS='' SEEN_PID=''
  exec {lock}<>"$1"
  until flock --nonblock "$lock"; do
    end_useless_backend "$1"
    sleep "$SLM_BACKEND_LOOK_S"
  done
  printf '%s %s\n' "$$" "$2" >"$1"
}

# end_useless_backend FILE   kills the backend that FILE names if it has had nothing to do for a while, or hangs.
end_useless_backend() {
  local pid address ticks
  # half a line: it is being written
  read -r pid address <"$1" && is_backend "$pid" "$address" && ticks=$(backend_ticks "$pid") || return 0
  if [[ $pid != "$SEEN_PID" ]] || ! backend_port "$address" 0A || backend_port "$address" 01; then
    BUSY_SINCE=$SECONDS
  fi
  if [[ $pid != "$SEEN_PID" || $ticks != "$SEEN_TICKS" ]]; then
    MOVED_SINCE=$SECONDS
  fi
  SEEN_PID=$pid SEEN_TICKS=$ticks
  ((SECONDS - BUSY_SINCE < SLM_BACKEND_QUIET_S && SECONDS - MOVED_SINCE < SLM_BACKEND_STALLED_S)) ||
    kill -KILL "$pid" 2>/dev/null || true
}

# is_backend PID ADDRESS   it is the process that was started for that address, not one that got its number later.
is_backend() {
  local -a words
  mapfile -d '' -t words 2>/dev/null <"${SLM_PROC:-/proc}/$1/cmdline" && [[ ${words[*]: -1} == "$2" ]]
}

# backend_port ADDRESS STATE   a TCP connection of that address is in that state: 0A is listening, 01 connected. A
# backend may use a socket of IPv6 for its address of IPv4, which then has zeros and FFFF in front.
backend_port() {
  local file port lines='' address='([0-9A-F]{24})?[0-9A-F]{8}'
  local -a more
  printf -v port '%04X' "${1##*:}"
  for file in "${SLM_PROC:-/proc}"/net/tcp "${SLM_PROC:-/proc}"/net/tcp6; do
    [[ ! -r $file ]] || { mapfile -t more <"$file" && lines+=" ${more[*]}"; }
  done
  [[ $lines =~ \ ([0-9A-F]{24})?0100007F:$port\ $address:[0-9A-F]{4}\ $2\  ]]
}

# backend_ticks PID   its CPU time in hundredths of a second.
backend_ticks() {
  local line
  local -a fields
  read -r line 2>/dev/null <"${SLM_PROC:-/proc}/$1/stat" || return
  read -ra fields <<<"${line##*) }"
  printf '%s\n' $((fields[11] + fields[12]))
}
