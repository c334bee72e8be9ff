# shellcheck shell=bash
# Engines whose wire differs from OpenAI's API are mended in nginx by njs (../njs), where that can be done honestly;
# docs/engines.md says what is mended and what stays. An engine asks for it by SLM_ENGINE_NEEDS_MENDING=yes in its
# file; nginx of every other engine doesn't even load the module.

SLM_NGINX_MODULES=${SLM_NGINX_MODULES:-$SLM_ROOT/usr/lib/nginx/modules}

needs_mending() {
  [[ ${SLM_ENGINE_NEEDS_MENDING:-no} == yes ]]
}

check_mending_module() {
  ! needs_mending || [[ -f $SLM_NGINX_MODULES/ngx_http_js_module.so ]] ||
    fail "the engine $SLM_ENGINE needs nginx's module njs, and the package libnginx-mod-http-js is not in this image"
}

# The lines of nginx.conf above everything else.
render_modules() {
  ! needs_mending || printf 'load_module %s/ngx_http_js_module.so;\n' "$SLM_NGINX_MODULES"
}

# What the site needs before its servers.
render_mending() {
  needs_mending || return 0
  printf '%s\n' "
# ---- what is mended of the engine's wire ----
js_path $SLM_APPLIANCE_DIR/njs;
js_import wire.js;
js_var \$slm_usage_asked;
js_var \$slm_token_limit;"
}

# How a route is served: by the engine at once, or with njs around it.
render_serving() {
  local methods=$1 path=$2 engine_path=$3 engine serving passed type
  local templates=$SLM_APPLIANCE_DIR/templates/nginx
  read_text "$templates/engine.conf.template" || return
  engine=$TEXT serving=@ENGINE@
  # shellcheck disable=SC2016 # nginx's variables
  passed=$engine_path type='$content_type'
  if needs_mending && [[ $methods == POST ]]; then
    read_text "$templates/mended_route.conf.template" || return
    serving=$TEXT
    # of another type the engine would read what was not checked
    # shellcheck disable=SC2016
    passed='$slm_engine_path' type=application/json
  fi
  serving=${serving//@ENGINE@/"$engine"}
  serving=${serving//@PASSED_PATH@/"$passed"}
  serving=${serving//@CONTENT_TYPE@/"$type"}
  serving=${serving//@LOCATION@/"@engine${path//[^a-z0-9]/_}"}
  serving=${serving//@ENGINE_PATH@/"$engine_path"}
  printf '%s' "${serving//@MODELS@/"$(served_models)"}"
}

# The names a request may give its model, separated by spaces.
served_models() {
  if declare -F engine_models >/dev/null; then
    engine_models | tr '\n' ' ' | sed 's/ *$//'
  else
    printf '%s' "$SLM_MODEL_ID"
  fi
}
