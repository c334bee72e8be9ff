# shellcheck shell=bash
# nginx in front of the engine: renders the site, proves it with nginx -t, and only then lets it replace the good one.

# Requests served or waiting at the same time; the engine has a few HTTP threads more, so that /health is answered.
SLM_MAX_REQUESTS=${SLM_MAX_REQUESTS:-24}

install_proxy() {
  local main
  command -v nginx >/dev/null || fail "nginx is not installed in this image" || return
  rm -f "$SLM_NGINX_DIR/sites-enabled/default"
  make_folder 0755 root:root "$SLM_NGINX_SNIPPETS" &&
    make_folder 0755 root:root "${SLM_ACME_DIR%/*}" &&
    make_folder 0755 root:root "$SLM_ACME_DIR" &&
    make_folder 0755 root:root "$SLM_ROOT/etc/systemd/system/nginx.service.d" || return
  check_mending_module && main=$(render_modules && cat "$SLM_APPLIANCE_DIR/templates/nginx/nginx.conf") || return
  write_text_if_changed 0644 root:root "$SLM_NGINX_DIR/nginx.conf" "$main"$'\n' &&
    write_if_changed 0644 root:root "$SLM_ROOT/etc/systemd/system/nginx.service.d/slm-copilot.conf" \
      <"$SLM_APPLIANCE_DIR/templates/nginx/nginx.service.conf" || return
  # what the package's own configuration logged, and the rotation of it
  rm -f "$SLM_ROOT/etc/logrotate.d/nginx" "$SLM_ROOT"/var/log/nginx/*.log
}

configure_proxy() {
  local auth site
  auth=$(render_auth_map) && site=$(render_site) || fail "the nginx site could not be rendered" || return
  make_folder 0755 root:root "$SLM_NGINX_SNIPPETS" && make_folder 0755 root:root "${SLM_NGINX_SITE%/*}" || return
  [[ ! -L $SLM_NGINX_DIR/sites-enabled/default && ! -e $SLM_NGINX_DIR/sites-enabled/default ]] ||
    rm -f "$SLM_NGINX_DIR/sites-enabled/default"
  drop_unfinished_proxy
  if same_content "$auth" "$SLM_NGINX_AUTH" && same_content "$site" "$SLM_NGINX_SITE"; then
    give 0600 root:root "$SLM_NGINX_AUTH" && give 0644 root:root "$SLM_NGINX_SITE"
    return
  fi
  check_candidate "$auth" "$site" || return
  # The two files name the same variable: old beside new is valid too, should the power fail in between.
  mark_pending nginx &&
    write_text_atomically 0600 root:root "$SLM_NGINX_AUTH" "$auth"$'\n' &&
    write_text_atomically 0644 root:root "$SLM_NGINX_SITE" "$site"$'\n'
}

# What a power cut left of an earlier change: a candidate, which holds the password, or a half-written file.
drop_unfinished_proxy() {
  local left
  for left in "$SLM_NGINX_DIR"/.slm-copilot-check.*; do
    [[ ! -e $left ]] || rm -rf "$left"
  done
  drop_unfinished "$SLM_NGINX_AUTH"
  drop_unfinished "$SLM_NGINX_SITE"
}

# Starts nginx, or has the running one take over what changed; in-flight answers are finished by the old workers.
start_proxy() {
  enable_unit nginx.service
  if is_pending nginx && systemctl is-active --quiet nginx.service; then
    reload_proxy || fail "nginx did not take over its new configuration, see journalctl -u nginx" || return
  else
    systemctl start nginx.service || fail "nginx did not start, see journalctl -u nginx" || return
  fi
  clear_pending nginx
}

# The whole way once, as a client goes it: TLS with verification, nginx, readiness. It asks for a name the certificate
# holds for, which may lead nowhere from here.
check_public_readiness() {
  local attempt host
  read_certificate "$SLM_TLS_CERT" && host=$(certificate_url_host) ||
    fail "the certificate $SLM_TLS_CERT can't be read or holds for no name" || return
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    if curl -fsg --max-time 10 --noproxy '*' --cacert "$SLM_TLS_CERT" --connect-to "::127.0.0.1:$SLM_HTTPS_PORT" \
      -o /dev/null "https://$host:$SLM_HTTPS_PORT/readyz"; then
      return
    fi
    sleep "0.$attempt"
  done
  fail "https://$host/readyz (asked for at 127.0.0.1) does not answer 200 although engine and nginx run"
}

# check_candidate AUTH SITE   tests what would be installed inside nginx's own configuration, without touching it.
check_candidate() {
  local auth=$1 site=$2 folder answer main status=0
  folder=$(mktemp -d "$SLM_NGINX_DIR/.slm-copilot-check.XXXXXX") || fail "$(unwritten "$SLM_NGINX_DIR/nginx.conf")" || return
  main=$folder.conf # beside nginx.conf: relative includes start from there
  {
    printf '%s\n' "$auth" >"$folder/auth.conf" &&
      site=${site//"$SLM_PROXY_AUTH"/"$folder/auth.conf"} && site=${site//"$SLM_PROXY_KEY"/"$SLM_TLS_KEY"} &&
      printf '%s\n' "$site" >"$folder/site.conf" &&
      sed -e "s#^\([[:space:]]*include[[:space:]]\+\).*sites-enabled/\*[^;]*;#\1$folder/site.conf;#" \
        -e "s#^pid .*;#pid $folder/pid;#" "$SLM_NGINX_DIR/nginx.conf" >"$main" &&
      answer=$(umask 0027 && nginx -e stderr -t -q -c "$main" 2>&1)
  } || status=1
  rm -rf "$folder" "$main"
  if ((status != 0)) && [[ -z ${answer:-} ]]; then
    fail "$(unwritten "$SLM_NGINX_SITE")" || return
  fi
  ((status == 0)) || fail "nginx refuses the new configuration, the previous one stays: $(one_line "$answer")"
}

same_content() {
  [[ ! -L $2 ]] && has_text "$2" "$1"$'\n'
}

# ---- rendering ----------------------------------------------------------------------------------------------------

render_site() {
  local site common ipv6_https='' ipv6_http='' primary
  local templates=$SLM_APPLIANCE_DIR/templates/nginx
  read_text "$templates/site.conf.template" || return
  site=$TEXT
  read_text "$templates/common.conf.template" || return
  common=$TEXT
  primary=$(primary_url_host) || return
  if has_ipv6; then
    ipv6_https="    listen [::]:$SLM_HTTPS_PORT ssl default_server;"
    ipv6_http="    listen [::]:$SLM_HTTP_PORT default_server;"
  fi
  local mending routes errors cors hsts
  mending=$(render_mending) && routes=$(render_routes) && errors=$(render_errors) &&
    cors=$(render_cors_origins) && hsts=$(hsts_value) || return
  site=${site//@COMMON@/"$common"}
  site=${site//@MENDING@/"$mending"}
  site=${site//@ROUTES@/"$routes"}
  site=${site//@ERRORS@/"$errors"}
  site=${site//@CORS_ORIGINS@/"$cors"}
  site=${site//@HSTS@/"$hsts"}
  site=${site//@LISTEN_HTTPS_IPV6@/"$ipv6_https"}
  site=${site//@LISTEN_HTTP_IPV6@/"$ipv6_http"}
  site=${site//@AUTH_FILE@/"$SLM_PROXY_AUTH"}
  site=${site//@ENGINE_ADDRESS@/"$SLM_ENGINE_HOST:$SLM_ENGINE_PORT"}
  site=${site//@ENGINE_HEALTH@/"$SLM_ENGINE_HEALTH"}
  site=${site//@PRIMARY_HOST@/"$primary"}
  site=${site//@HTTPS_PORT@/"$SLM_HTTPS_PORT"}
  site=${site//@HTTP_PORT@/"$SLM_HTTP_PORT"}
  site=${site//@TLS_CERT@/"$SLM_TLS_CERT"}
  site=${site//@TLS_KEY@/"$SLM_PROXY_KEY"}
  site=${site//@READY_FILE@/"$SLM_READY_FILE"}
  site=${site//@READY_NAME@/"${SLM_READY_FILE##*/}"}
  site=${site//@RUN_DIR@/"$SLM_RUN_DIR"}
  site=${site//@ACME_DIR@/"$SLM_ACME_DIR"}
  site=${site//@LOG_SOCKET@/"$SLM_LOG_SOCKET"}
  printf '%s\n' "$site"
}

# The engine says which routes it serves: "METHOD[,METHOD] PUBLIC_PATH ENGINE_PATH", one a line.
render_routes() {
  local template methods path engine_path route serving
  read_text "$SLM_APPLIANCE_DIR/templates/nginx/route.conf.template" || return
  template=$TEXT
  while read -r methods path engine_path; do
    serving=$(render_serving "$methods" "$path" "$engine_path") || return
    route=${template//@SERVE@/"$serving"}
    route=${route//@PATH@/"$path"}
    route=${route//@METHODS@/"${methods//,/, }"}
    route=${route//@METHODS_REGEX@/"${methods//,/|}"}
    route=${route//@MAX_REQUESTS@/"$SLM_MAX_REQUESTS"}
    printf '%s\n\n' "$route"
  done < <(engine_routes)
}

# The entries of the map from Origin to the allowed origin.
render_cors_origins() {
  local origin
  if [[ ${SLM_VALUE[cors_origins]} == '*' ]]; then
    # any scheme: editors run their pages under vscode-webview:// and the like
    # shellcheck disable=SC2016 # nginx's variable
    printf '    "~^(null|[a-z][a-z0-9+.-]*://[A-Za-z0-9._~:%%\\[\\]-]+)$" $http_origin;\n'
    return
  fi
  while read -r origin; do
    # shellcheck disable=SC2016
    printf '    "%s" $http_origin;\n' "$(canonical_origin "$origin")"
  done < <(split_origins "${SLM_VALUE[cors_origins]}") | awk '!seen[$0]++'
}

# As browsers send it: lower case, without the scheme's own port.
canonical_origin() {
  local origin=${1,,}
  case "$origin" in
    https://*:443) origin=${origin%:443} ;;
    http://*:80) origin=${origin%:80} ;;
  esac
  printf '%s' "$origin"
}
