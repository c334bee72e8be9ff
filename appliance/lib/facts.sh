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
  local hosts=$SLM_ROOT/etc/hosts
  [[ -r $hosts ]] || hosts=/dev/null
  awk -v name="$(uname -n)" '
    function show(word) { word = tolower(word); if (word ~ /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/ && length(word) < 254 && !seen[word]++) print word }
    BEGIN { show(name) }
    { sub(/#.*/, ""); for (i = 2; i <= NF; i++) if ($i == name) for (j = 2; j <= NF; j++) show($j) }
  ' "$hosts"
}

has_ipv6() {
  [[ -e $SLM_PROC/net/if_inet6 ]]
}
