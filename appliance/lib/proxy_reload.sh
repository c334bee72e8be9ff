# shellcheck shell=bash
# Has nginx take over what changed, and waits until it did. nginx is told by a signal: until its new workers are there,
# the old ones answer new clients with the old certificate and the old password.

# Seconds the new workers may take; answers under way are finished by the old ones, however long that takes.
SLM_TAKEOVER_S=${SLM_TAKEOVER_S:-20}

reload_proxy() {
  local master old
  master=$(systemctl show --property MainPID --value nginx.service 2>/dev/null || true)
  old=$(proxy_workers "$master")
  systemctl reload nginx.service || return
  wait_for_takeover "$old"
}

# proxy_workers MASTER   the process ids of its children.
proxy_workers() {
  cat "$SLM_PROC/$1/task/$1/children" 2>/dev/null || true
}

wait_for_takeover() {
  local worker tenths
  # shellcheck disable=SC2086 # process ids, separated by spaces
  for worker in $1; do
    tenths=$((SLM_TAKEOVER_S * 10))
    until is_retired "$worker"; do
      if ((tenths-- == 0)); then
        msg warning "an old nginx worker still takes new clients after $SLM_TAKEOVER_S s"
        return
      fi
      sleep 0.1
    done
  done
}

# Gone, or no longer listening, which a worker says in its title just before it closes its sockets.
is_retired() {
  local title
  title=$(tr '\0' ' ' 2>/dev/null <"$SLM_PROC/$1/cmdline" || true)
  [[ -z $title || $title == *'shutting down'* ]]
}
