# shellcheck shell=bash
# What the guest knows of itself: names and addresses. Nothing here asks the network; a resolver that doesn't
# answer would hold up the boot.

# Sets SLM_ADDRESSES, every address people may reach the guest by, one a line: no loopback, no link-local, and none
# of IPv6's temporary or deprecated addresses, which change by themselves. And SLM_PRIMARY_ADDRESS: the IPv4 address
# of the interface with the default route, else the first address, else the loopback.
resolve_addresses() {
  local interfaces route found
  interfaces=$(ip -j addr show) && route=$(ip -j -4 route show default) &&
    found=$(jq -r --argjson route "${route:-[]}" '
      ([.[] | select(.ifname == $route[0].dev) | .addr_info[]?
        | select(.scope == "global" and .family != "inet6") | .local][0] // ""),
      (.[] | .addr_info[]?
        | select(.scope == "global" and (.temporary | not) and (.deprecated | not))
        | .local // empty)' <<<"$interfaces") ||
    fail "the addresses of this machine could not be read: ip or jq failed" || return
  SLM_PRIMARY_ADDRESS=${found%%$'\n'*}
  SLM_ADDRESSES=''
  [[ $found != *$'\n'* ]] || SLM_ADDRESSES=${found#*$'\n'}
  SLM_PRIMARY_ADDRESS=${SLM_PRIMARY_ADDRESS:-${SLM_ADDRESSES%%$'\n'*}}
  SLM_PRIMARY_ADDRESS=${SLM_PRIMARY_ADDRESS:-127.0.0.1}
}

# The primary address as a URL writes it.
primary_url_host() {
  case "$SLM_PRIMARY_ADDRESS" in
    *:*) printf '[%s]\n' "$SLM_PRIMARY_ADDRESS" ;;
    *) printf '%s\n' "$SLM_PRIMARY_ADDRESS" ;;
  esac
}

# Hostname and, where /etc/hosts knows it, the fully qualified name; one a line, in lower case.
guest_names() {
  local hosts=$SLM_ROOT/etc/hosts name line word seen=' '
  local -a words
  name=$(uname -n)
  show_name "$name"
  [[ -r $hosts ]] || return 0
  while IFS= read -r line || [[ -n $line ]]; do
    read -ra words <<<"${line%%#*}"
    [[ " ${words[*]:1} " == *" $name "* ]] || continue
    for word in "${words[@]:1}"; do
      show_name "$word"
    done
  done <"$hosts"
}

# show_name WORD   prints what is a name and not yet in the caller's `seen`.
show_name() {
  local word=${1,,}
  [[ $word =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ && $seen != *" $word "* ]] && ((${#word} < 254)) || return 0
  seen+="$word "
  printf '%s\n' "$word"
}

has_ipv6() {
  [[ -e $SLM_PROC/net/if_inet6 ]]
}
