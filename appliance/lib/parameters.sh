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
  local name=$1 value=$2
  PROBLEM=''
  "problem_of_${SLM_PARAM_TYPE[$name]}" "$name" "$value"
  [[ -z $PROBLEM ]] || fail "$name: $PROBLEM; accepted: ${SLM_PARAM_ACCEPTED[$name]}"
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
  for name in "${!ONEAPP_SLM_@}"; do
    if [[ -z ${SLM_PARAM_TYPE[$name]-} ]]; then
      unknown=$((unknown + 1))
      ((unknown > SLM_UNKNOWN_SHOWN)) ||
        msg warning "${name:0:80} is not a parameter of this appliance and is ignored; known are: ${SLM_PARAM_NAMES[*]}"
    fi
  done
  ((unknown <= SLM_UNKNOWN_SHOWN)) ||
    msg warning "$((unknown - SLM_UNKNOWN_SHOWN)) more names that begin with ONEAPP_SLM_ are ignored"
}

warn_about_unused_certificate() {
  if [[ ${SLM_VALUE[tls_mode]} != custom && -n ${SLM_VALUE[tls_cert]}${SLM_VALUE[tls_key]} ]]; then
    msg warning "ONEAPP_SLM_TLS_CERT and ONEAPP_SLM_TLS_KEY are used only with ONEAPP_SLM_TLS_MODE=custom"
  fi
}

# ---- one judge a type: sets PROBLEM, or leaves it empty when the value is good. No programs and no subshells: they
# run at every boot, twice, also on emulated machines. ---------------------------------------------------------------

problem_of_password() {
  local name=$1 value=$2 word words
  if ((${#value} < ${SLM_PARAM_MINIMUM[$name]})); then
    PROBLEM="the value is too short"
  elif ((${#value} > ${SLM_PARAM_MAXIMUM[$name]})); then
    PROBLEM="the value is too long"
  elif [[ $value == *[!A-Za-z0-9._~+/=-]* ]]; then
    PROBLEM="the value holds a character that is not accepted"
  else
    read -ra words <<<"${SLM_PARAM_REFUSED[$name]-}"
    for word in "${words[@]}"; do
      if [[ ${value,,} == "$word" ]]; then
        PROBLEM="the value is a well-known password"
        return
      fi
    done
  fi
}

problem_of_integer() {
  local name=$1 value=$2
  if [[ ! $value =~ ^(0|[1-9][0-9]{0,8})$ ]]; then
    quote "$value"
    PROBLEM="$QUOTED is not a whole number in plain digits"
  elif ((value < ${SLM_PARAM_MINIMUM[$name]} || value > ${SLM_PARAM_MAXIMUM[$name]})); then
    PROBLEM="$value is out of range"
  fi
}

problem_of_decimal() {
  local name=$1 value=$2 millionths
  if [[ ! $value =~ ^(0|[1-9][0-9]{0,5})(\.([0-9]{1,6}))?$ ]]; then
    quote "$value"
    PROBLEM="$QUOTED is not a decimal number with a point"
    return
  fi
  millionths=${BASH_REMATCH[3]}000000
  millionths=$((BASH_REMATCH[1] * 1000000 + 10#${millionths:0:6}))
  if ((millionths < ${SLM_PARAM_MINIMUM[$name]} * 1000000 || millionths > ${SLM_PARAM_MAXIMUM[$name]} * 1000000)); then
    PROBLEM="$value is out of range"
  fi
}

problem_of_choice() {
  local name=$1 value=$2
  if [[ $value == *[!a-z]* || " ${SLM_PARAM_CHOICES[$name]} " != *" $value "* ]]; then
    quote "$value"
    PROBLEM="$QUOTED is not a choice"
  fi
}

problem_of_base64_pem() {
  local value=$2
  if ((${#value} > SLM_PEM_LONGEST)); then
    PROBLEM="the value is too long"
    return
  fi
  value=${value//[[:space:]]/}
  # grep -c reads to the end, with -q base64 would be killed by the closed pipe of a long value
  if [[ ! $value =~ ^[A-Za-z0-9+/]+={0,2}$ ]] || ((${#value} % 4)) ||
    ! printf '%s' "$value" | base64 -d 2>/dev/null | grep -ac -- '^[[:blank:]]*-----BEGIN [A-Z0-9 ]*-----' >/dev/null; then
    PROBLEM="the value is not base64 of a PEM file"
  fi
}

problem_of_hostname() {
  local value=$2
  if ((${#value} > 253)) || [[ ! $value =~ ^$SLM_DNS_LABEL(\.$SLM_DNS_LABEL)+$ ]]; then
    quote "$value"
    PROBLEM="$QUOTED is not a fully qualified DNS name"
  elif [[ $value != *[!0-9.]* ]]; then
    quote "$value"
    PROBLEM="$QUOTED is an address, which the certificate names anyway"
  fi
}

problem_of_https_url() {
  local value=$2 port
  if ((${#value} > 512)); then
    PROBLEM="the value is too long"
  elif [[ $value == *@* ]]; then
    PROBLEM="the value holds an @, as URLs with credentials do"
  elif [[ ! $value =~ ^https://($SLM_DNS_LABEL(\.$SLM_DNS_LABEL)*|\[[0-9A-Fa-f:.]{2,45}\])(:([0-9]{1,5}))?(/[A-Za-z0-9._~/%-]*)?$ ]]; then
    quote "$value"
    PROBLEM="$QUOTED is not an https URL in this form"
  else
    port=${BASH_REMATCH[6]:-443}
    ((10#$port >= 1 && 10#$port <= 65535)) || PROBLEM="$port is not a TCP port"
  fi
}

# A file's name and a client's word for the model: neither a path nor an option.
problem_of_model_name() {
  local value=$2
  if ((${#value} > 64)); then
    PROBLEM="the value is too long"
  elif [[ ! $value =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]]; then
    quote "$value"
    PROBLEM="$QUOTED is not a model's name"
  elif [[ ${value,,} == *.gguf ]]; then
    quote "$value"
    PROBLEM="$QUOTED has the file's ending"
  fi
}

problem_of_origins() {
  local value=$2 entries origin bare
  [[ $value != '*' ]] || return 0
  if ((${#value} > SLM_ORIGINS_LONGEST)); then
    PROBLEM="the value is too long"
    return
  fi
  bare=${value// /}
  if [[ $value == *[[:cntrl:]]* || -z $bare || $bare == *, || $bare == ,* || $bare == *,,* ]]; then
    quote "$value"
    PROBLEM="$QUOTED has an empty entry or a control character"
    return
  fi
  IFS=, read -ra entries <<<"$value"
  for origin in "${entries[@]}"; do
    read -r origin <<<"$origin"
    if [[ $origin == '*' ]]; then
      PROBLEM="* stands alone, it can't be mixed with origins"
      return
    elif ! is_origin "$origin"; then
      quote "$origin"
      PROBLEM="$QUOTED is not an origin (scheme, host and optional port, no path)"
      return
    fi
  done
  if ((${#entries[@]} > 32)); then
    PROBLEM="it lists ${#entries[@]} origins"
  fi
}

# ---- forms --------------------------------------------------------------------------------------------------------

SLM_DNS_LABEL='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?'

split_origins() {
  local list=$1
  tr ',' '\n' <<<"$list" | sed -e 's/^[[:blank:]]*//' -e 's/[[:blank:]]*$//'
}

is_origin() {
  local origin=$1 port
  [[ $origin =~ ^[Hh][Tt][Tt][Pp][Ss]?://($SLM_DNS_LABEL(\.$SLM_DNS_LABEL)*|\[[0-9A-Fa-f:.]{2,45}\])(:([1-9][0-9]{0,4}))?$ ]] || return
  port=${origin##*:}
  [[ ! $port =~ ^[0-9]+$ ]] || ((port <= 65535))
}

# quote VALUE   sets QUOTED: the value as an error message shows it, in quotes, one line, short.
quote() {
  flatten "$1" 64
  ((${#FLAT} <= 60)) || FLAT=${FLAT:0:57}...
  QUOTED="'$FLAT'"
}

quoted() {
  quote "$1"
  printf '%s' "$QUOTED"
}
