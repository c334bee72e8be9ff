# shellcheck shell=bash
# Which names a certificate holds for, as clients compare them. After read_certificate.

# certificate_covers NAME   NAME is a DNS name or an address. A wildcard stands for one label, the leftmost.
certificate_covers() {
  local name=${1,,} known
  if [[ $name == *:* || $name =~ ^[0-9]+(\.[0-9]+){3}$ ]]; then
    name=$(normalized_names <<<"IP:$name")
  else
    name="dns:$name"
  fi
  while read -r known; do
    if [[ $known == "$name" || ($known == 'dns:*.'* && $name == dns:?*.* && dns:${name#*.} == "dns:${known#*.}") ]]; then
      return
    fi
  done < <(normalized_names <<<"$CERT_NAMES")
  return 1
}

# certificate_url_host   a host that the certificate holds for, as a URL writes it: what somebody may ask for who
# wants to verify it. Fails where it holds for nothing.
certificate_url_host() {
  local first=${CERT_NAMES%%$'\n'*}
  case "$first" in
    DNS:\*.*) printf 'any.%s\n' "${first#DNS:\*.}" ;;
    DNS:?*) printf '%s\n' "${first#DNS:}" ;;
    IP:*:*) printf '[%s]\n' "${first#IP:}" ;;
    IP:?*) printf '%s\n' "${first#IP:}" ;;
    *) return 1 ;;
  esac
}
