# shellcheck shell=bash
# An appliance of cardboard: GUEST=good answers as the real one does, GUEST=bad answers everything wrong, GUEST=failed has
# failed its configure stage.

test() {
  [[ ${GUEST} != bad ]]
}

cat() {
  case "${GUEST} $1" in
    "good /etc/motd") printf '\n All set and ready to serve 8)\n\n' ;;
    "failed /etc/motd") printf ' 2/3 Configuration step failed.\n' ;;
    "bad /etc/motd") printf ' 1/3 still at it\n' ;;
    "good /etc/one-appliance/status") printf 'bootstrap_success\n' ;;
    *" /etc/one-appliance/status") printf 'configure_failure\n' ;;
    "good /etc/one-appliance/config")
      printf '%s\n' '[connection]' "password=${GUEST_PASSWORD}" 'model=tiny' '[engine]' 'context_size=4096' 'temperature=0.2'
      ;;
    *" /etc/one-appliance/config") printf 'password=another\nmodel=other\n' ;;
    *) return 1 ;;
  esac
}

systemctl() {
  if [[ $1 == is-active ]]; then
    if [[ ${GUEST} == good ]]; then echo active; else echo failed; fi
  elif [[ ${GUEST} != good ]]; then
    echo 'slm-engine.service loaded failed failed Engine'
  fi
}

ss() {
  local address
  for address in 0.0.0.0:22 '[::]:443' 0.0.0.0:443 0.0.0.0:80 127.0.0.1:8080; do
    printf 'LISTEN 0 511 %s 0.0.0.0:*\n' "${address}"
  done
  [[ ${GUEST} == good ]] || printf 'LISTEN 0 511 0.0.0.0:8080 0.0.0.0:*\n'
}

# curl --silent --show-error --config -   the configuration tells what is asked; curl itself unescapes \n and \"
curl() {
  local config url body=''
  config=$(command cat)
  [[ $* == '--silent --show-error --config -' ]] || return 2
  [[ ${config} == *'cacert = "/etc/ssl/slm-copilot/cert.pem"'* ]] || return 60
  [[ ${config} == *$'\nwrite-out = "\\ncertification-status:%{http_code}"'* ]] || return 3
  url=${config#*'url = "https://127.0.0.1'}
  url=${url%%'"'*}
  [[ ${config} != *'data = "'* ]] || body=${config#*'data = "'}
  answer "${url}" "${config}" "${body}"
}

answer() {
  local url=$1 config=$2 body=$3
  if [[ ${GUEST} != good ]]; then
    told 503 '{"error": {}}'
  elif [[ ${url} == /readyz ]]; then
    told 200 ''
  elif [[ ${config} != *"Bearer ${GUEST_PASSWORD}\""* ]]; then
    told 401 '{"error": {}}'
  elif [[ ${url} == /v1/models ]]; then
    told 200 '{"data": [{"id": "tiny"}]}'
  elif [[ ${url} == /v1/chat/completions && ${body} == *'\"stream\":true'* ]]; then
    told 200 $'data: {"a": 1}\n\ndata: {"a": 2}\n\ndata: [DONE]\n'
  elif [[ ${url} == /v1/chat/completions && ${body} == *'\"model\":\"tiny\"'* ]]; then
    told 200 '{"choices": [{"message": {"content": "Hello."}}]}'
  else
    told 404 '{"error": {}}'
  fi
}

told() {
  printf '%s\ncertification-status:%s' "$2" "$1"
}
