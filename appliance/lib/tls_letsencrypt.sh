# shellcheck shell=bash
# TLS mode letsencrypt. Its place is kept: port 80 already serves /.well-known/acme-challenge/ from $SLM_ACME_DIR,
# and tls_store.sh takes a pair from anywhere.

tls_letsencrypt_check() {
  fail "ONEAPP_SLM_TLS_MODE: letsencrypt is not built into this image; accepted here: selfsigned"
}

tls_letsencrypt_configure() {
  tls_letsencrypt_check
}
