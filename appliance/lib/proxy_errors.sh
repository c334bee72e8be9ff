# shellcheck shell=bash
# nginx's own errors in OpenAI's form. The SDKs map the status to their exception classes and show the message.

# status  answered as  type  code  message
errors_of_nginx() {
  cat <<'LIST'
400|400|invalid_request_error|bad_request|The request is not valid HTTP.
401|401|invalid_request_error|invalid_api_key|Missing or wrong credential. Send the password of the appliance as Bearer token, or as Basic authentication of the user admin.
403|403|invalid_request_error|forbidden|This is not allowed.
404|404|invalid_request_error|unknown_url|There is no such route. The API is under /v1.
405|405|invalid_request_error|method_not_allowed|This route does not take that method; the header Allow names those it takes.
408|408|invalid_request_error|request_timeout|The request took too long to arrive.
411|411|invalid_request_error|length_required|The request needs a Content-Length.
413|413|invalid_request_error|request_too_large|The request body is larger than 10 MiB.
414|414|invalid_request_error|uri_too_long|The address of the request is too long.
415|415|invalid_request_error|unsupported_media_type|The body has a type that is not accepted.
416|416|invalid_request_error|range_not_satisfiable|Ranges are not supported.
421|421|invalid_request_error|misdirected_request|This connection does not serve that host.
429|429|rate_limit_error|too_many_requests|Too many requests are being served at the moment. Try again shortly.
494|431|invalid_request_error|headers_too_large|The headers of the request are too large.
495|400|invalid_request_error|client_certificate|The client certificate was refused.
496|400|invalid_request_error|client_certificate|A client certificate is missing.
497|400|invalid_request_error|https_required|This port speaks HTTPS. Use https:// in the address.
500|500|server_error|internal_error|The proxy of the appliance failed.
501|501|invalid_request_error|not_implemented|The request asks for something HTTP has but this server has not.
502|503|server_error|engine_unavailable|The language model engine is not available at the moment. Try again shortly.
503|503|server_error|engine_unavailable|The language model engine is not available at the moment. Try again shortly.
504|504|server_error|engine_timeout|The language model engine did not answer in time.
505|505|invalid_request_error|http_version|This version of HTTP is not spoken here; HTTP/1.1 is.
LIST
}

# Locations and error_page lines for one server. Named locations keep the request as it is; the errors found while
# a request is still being parsed need a URI, because nginx refuses to enter a named location without one.
render_errors() {
  local status answer type code message location
  while IFS='|' read -r status answer type code message; do
    case "$status" in
      400 | 408 | 414 | 421 | 494 | 495 | 496 | 497 | 501 | 505)
        location="/.slm-copilot/error/$status"
        printf '    error_page %s =%s %s;\n' "$status" "$answer" "$location"
        printf '    location = %s {\n        internal;\n' "$location"
        ;;
      *)
        printf '    error_page %s =%s @error_%s;\n' "$status" "$answer" "$status"
        printf '    location @error_%s {\n' "$status"
        ;;
    esac
    printf "        return %s '" "$answer"
    error_body "$message" "$type" "$code"
    printf "';\n    }\n"
  done < <(errors_of_nginx)
  printf "    location @error_503_not_ready {\n        return 503 '"
  error_body "The language model is being loaded or is not running." server_error not_ready
  printf "';\n    }\n"
}

# The texts above hold no quote, backslash or dollar sign, so they need no escaping for JSON or for nginx.
error_body() {
  printf '{"error":{"message":"%s","type":"%s","param":null,"code":"%s"}}' "$@"
}
