# shellcheck shell=bash
# Reads and judges the ONEAPP_SLM_* context variables against parameter_table.sh. The judged values are in
# SLM_VALUE under their labels (SLM_VALUE[threads]); nothing else in the appliance reads a context variable.

declare -gA SLM_VALUE=()

# Unknown names warned about one by one; a flood of them must not become a flood in the log.
SLM_UNKNOWN_SHOWN=20
# Base64 of a certificate with its chain is below 20,000 characters. No program can be started with a variable of
# 128 KiB, so longer values never get here.
SLM_PEM_LONGEST=98304
# 32 origins with names of full length.
SLM_ORIGINS_LONGEST=10000

# Judges every parameter before anything is written. Stops at the first bad one. Empty means default; white space
# alone is a value like any other, and none that is accepted.
validate_parameters() {
  local name value
  withdraw_secrets_from_environment
  warn_about_unknown_parameters
  for name in "${SLM_PARAM_NAMES[@]}"; do
    value=${!name:-}
    value=${value:-${SLM_PARAM_DEFAULT[$name]-}}
    if [[ -n $value ]]; then
      judge_parameter "$name" "$value" || return
    fi
    # base64 arrives wrapped into lines by some tools
    [[ ${SLM_PARAM_TYPE[$name]} != base64_pem ]] || value=${value//[[:space:]]/}
    SLM_VALUE[${SLM_PARAM_LABEL[$name]}]=$value
  done
  warn_about_unused_certificate
}

judge_parameter() {
  local name=$1 value=$2 problem
  problem=$("problem_of_${SLM_PARAM_TYPE[$name]}" "$name" "$value")
  [[ -z $problem ]] || fail "$name: $problem; accepted: ${SLM_PARAM_ACCEPTED[$name]}"
}

# Programs started from here on have no use for the secrets.
withdraw_secrets_from_environment() {
  local name
  for name in "${SLM_PARAM_NAMES[@]}"; do
    if [[ ${SLM_PARAM_SECRET[$name]} == true ]]; then
      export -n "${name?}"
    fi
  done
}

warn_about_unknown_parameters() {
  local name unknown=0
  # configure has told of them already
  [[ ${SLM_STAGE:-} != bootstrap ]] || return 0
  while read -r name; do
    if [[ -z ${SLM_PARAM_TYPE[$name]-} ]]; then
      unknown=$((unknown + 1))
      ((unknown > SLM_UNKNOWN_SHOWN)) ||
        msg warning "$(one_line "${name:0:80}") is not a parameter of this appliance and is ignored; known are: ${SLM_PARAM_NAMES[*]}"
    fi
  done < <(compgen -v ONEAPP_SLM_ || true)
  ((unknown <= SLM_UNKNOWN_SHOWN)) ||
    msg warning "$((unknown - SLM_UNKNOWN_SHOWN)) more names that begin with ONEAPP_SLM_ are ignored"
}

warn_about_unused_certificate() {
  if [[ ${SLM_VALUE[tls_mode]} != custom && -n ${SLM_VALUE[tls_cert]}${SLM_VALUE[tls_key]} ]]; then
    msg warning "ONEAPP_SLM_TLS_CERT and ONEAPP_SLM_TLS_KEY are used only with ONEAPP_SLM_TLS_MODE=custom"
  fi
}

# ---- one judge a type: prints the problem, or nothing when the value is good --------------------------------------

problem_of_password() {
  local name=$1 value=$2 word words
  local shortest=${SLM_PARAM_MINIMUM[$name]} longest=${SLM_PARAM_MAXIMUM[$name]}
  if ((${#value} < shortest)); then
    echo "the value is too short"
  elif ((${#value} > longest)); then
    echo "the value is too long"
  elif [[ ! $value =~ ^[A-Za-z0-9._~+/=-]+$ ]]; then
    echo "the value holds a character that is not accepted"
  else
    read -ra words <<<"${SLM_PARAM_REFUSED[$name]-}"
    for word in "${words[@]}"; do
      if [[ ${value,,} == "$word" ]]; then
        echo "the value is a well-known password"
        return
      fi
    done
  fi
}

problem_of_integer() {
  local name=$1 value=$2
  local least=${SLM_PARAM_MINIMUM[$name]} most=${SLM_PARAM_MAXIMUM[$name]}
  if [[ ! $value =~ ^(0|[1-9][0-9]{0,8})$ ]]; then
    echo "$(quoted "$value") is not a whole number in plain digits"
  elif ((value < least || value > most)); then
    echo "$value is out of range"
  fi
}

problem_of_decimal() {
  local name=$1 value=$2
  if [[ ! $value =~ ^(0|[1-9][0-9]{0,5})(\.[0-9]{1,6})?$ ]]; then
    echo "$(quoted "$value") is not a decimal number with a point"
  elif ! awk -v low="${SLM_PARAM_MINIMUM[$name]}" -v high="${SLM_PARAM_MAXIMUM[$name]}" -v value="$value" \
    'BEGIN { exit !(value >= low && value <= high) }'; then
    echo "$value is out of range"
  fi
}

problem_of_choice() {
  local name=$1 value=$2
  if [[ " ${SLM_PARAM_CHOICES[$name]} " != *" $value "* || $value == *[[:space:]]* ]]; then
    echo "$(quoted "$value") is not a choice"
  fi
}

problem_of_base64_pem() {
  local value=$2
  if ((${#value} > SLM_PEM_LONGEST)); then
    echo "the value is too long"
    return
  fi
  value=${value//[[:space:]]/}
  # grep -c reads to the end, with -q base64 would be killed by the closed pipe of a long value
  if [[ ! $value =~ ^[A-Za-z0-9+/]+={0,2}$ ]] || ((${#value} % 4)) ||
    ! printf '%s' "$value" | base64 -d 2>/dev/null | grep -ac -- '^[[:blank:]]*-----BEGIN [A-Z0-9 ]*-----' >/dev/null; then
    echo "the value is not base64 of a PEM file"
  fi
}

problem_of_hostname() {
  local value=$2 label='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
  if ((${#value} > 253)) || [[ ! $value =~ ^$label(\.$label)+$ ]]; then
    echo "$(quoted "$value") is not a fully qualified DNS name"
  elif [[ $value =~ ^[0-9.]+$ ]]; then
    echo "$(quoted "$value") is an address, which the certificate names anyway"
  fi
}

# Never shows a value that might carry a password.
problem_of_https_url() {
  local value=$2 label='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?' port
  if ((${#value} > 512)); then
    echo "the value is too long"
  elif [[ $value == *@* ]]; then
    echo "the value holds an @, as URLs with credentials do"
  elif [[ ! $value =~ ^https://($label(\.$label)*|\[[0-9A-Fa-f:.]{2,45}\])(:([0-9]{1,5}))?(/[A-Za-z0-9._~/%-]*)?$ ]]; then
    echo "$(quoted "$value") is not an https URL in this form"
  else
    port=${BASH_REMATCH[6]:-443}
    ((10#$port >= 1 && 10#$port <= 65535)) || echo "$port is not a TCP port"
  fi
}

problem_of_origins() {
  local value=$2 origin count=0
  [[ $value != '*' ]] || return 0
  if ((${#value} > SLM_ORIGINS_LONGEST)); then
    echo "the value is too long"
    return
  fi
  if [[ $value =~ [[:cntrl:]] || ${value//[[:space:]]/} == *, || ${value//[[:space:]]/} == ,* || ${value//[[:space:]]/} == *,,* ]]; then
    echo "$(quoted "$value") has an empty entry or a control character"
    return
  fi
  while read -r origin; do
    count=$((count + 1))
    if [[ $origin == '*' ]]; then
      echo "* stands alone, it can't be mixed with origins"
      return
    elif ! is_origin "$origin"; then
      echo "$(quoted "$origin") is not an origin (scheme, host and optional port, no path)"
      return
    fi
  done < <(split_origins "$value")
  if ((count > 32)); then
    echo "it lists $count origins"
  fi
}

# ---- forms --------------------------------------------------------------------------------------------------------

split_origins() {
  local list=$1
  tr ',' '\n' <<<"$list" | sed -e 's/^[[:blank:]]*//' -e 's/[[:blank:]]*$//'
}

is_origin() {
  local origin=$1 port
  local label='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
  [[ $origin =~ ^[Hh][Tt][Tt][Pp][Ss]?://($label(\.$label)*|\[[0-9A-Fa-f:.]{2,45}\])(:([1-9][0-9]{0,4}))?$ ]] || return
  port=${origin##*:}
  [[ ! $port =~ ^[0-9]+$ ]] || ((port <= 65535))
}

# A value as an error message shows it: quoted, one line, short.
quoted() {
  local text
  text=$(one_line "${1:0:64}")
  ((${#text} <= 60)) || text=${text:0:57}...
  printf "'%s'" "$text"
}
