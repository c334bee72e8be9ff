# shellcheck shell=bash
# The one credential of the API: user admin and its password, as Basic or as Bearer.

# Sets SLM_PASSWORD: the context's, else the one generated earlier, else a new one. A password that came from the
# context isn't kept when the context no longer gives one.
resolve_password() {
  local origin='' kept=''
  drop_unfinished "$SLM_PASSWORD_FILE"
  if [[ -n ${SLM_VALUE[admin_password]} ]]; then
    SLM_PASSWORD=${SLM_VALUE[admin_password]}
    keep_password context
    return
  fi
  if [[ -r $SLM_PASSWORD_FILE ]]; then
    read -r origin kept <"$SLM_PASSWORD_FILE" || true
  fi
  if [[ $origin == generated && $kept =~ ^[A-Za-z0-9]{32}$ ]]; then
    SLM_PASSWORD=$kept
    give 0600 root:root "$SLM_PASSWORD_FILE"
    return
  fi
  SLM_PASSWORD=$(generate_password) || fail "no password could be generated: openssl rand failed" || return
  keep_password generated
}

keep_password() {
  make_folder 0755 root:root "$SLM_CONFIG_DIR" || return
  write_text_if_changed 0600 root:root "$SLM_PASSWORD_FILE" "$1 $SLM_PASSWORD"$'\n'
}

# 32 letters and digits, 190 bits.
generate_password() {
  local letters='' more
  while ((${#letters} < 32)); do
    more=$(openssl rand -base64 96 | tr -dc 'A-Za-z0-9') || return
    [[ -n $more ]] || return
    letters+=$more
  done
  printf '%s\n' "${letters:0:32}"
}

# The nginx map that decides about a request. Its regular expressions are case-sensitive (plain map keys are not);
# the scheme's name isn't, as RFC 9110 has it. Comparing costs nothing per request, unlike a password hash.
render_auth_map() {
  local basic bearer upstream
  basic=$(printf '%s:%s' "$SLM_ADMIN_USER" "$SLM_PASSWORD" | base64 -w0) || return
  basic=$(escaped_for_regex "$basic")
  bearer=$(escaped_for_regex "$SLM_PASSWORD")
  upstream=$(engine_authorization) || return
  cat <<CONF
# Written by the appliance's configure stage; holds the API password, root only.
map \$http_authorization \$slm_authorized {
    default 0;
    "~^(?i:Basic) +$basic\$" 1;
    "~^(?i:Bearer) +$bearer\$" 1;
}
# What the engine behind nginx is told instead; only for those who may come in.
map \$slm_authorized \$slm_engine_authorization {
    default "";
    1 "$upstream";
}
CONF
}

# Of the accepted characters only these two mean something in a regular expression.
escaped_for_regex() {
  local text=${1//./[.]}
  printf '%s' "${text//+/[+]}"
}
