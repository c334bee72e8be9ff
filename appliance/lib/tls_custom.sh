# shellcheck shell=bash
# TLS mode custom: the certificate and key of ONEAPP_SLM_TLS_CERT and ONEAPP_SLM_TLS_KEY. Its place is kept.

tls_custom_check() {
  fail "ONEAPP_SLM_TLS_MODE: custom is not built into this image; accepted here: selfsigned"
}

tls_custom_configure() {
  tls_custom_check
}
