# shellcheck shell=bash
# What depends on whether strangers trust the certificate.
#
# HSTS only then: a browser that has once seen the header no longer lets people click past a warning, so behind a
# certificate that its machine doesn't know it would lock them out. 180 days: as long as scanners ask for, and short
# enough for an appliance that may go back to a self-signed certificate. No preload, no subdomains: neither is the
# appliance's to promise.
#
# OCSP isn't stapled, in no mode: a private authority has no responder, Let's Encrypt ended its own in 2025, and a
# staple would need the guest to reach the authority.

SLM_HSTS='max-age=15552000'
SLM_SYSTEM_CAS=${SLM_SYSTEM_CAS:-$SLM_ROOT/etc/ssl/certs/ca-certificates.crt}

# Whether a client that knows only the system's authorities verifies what is served, chain included.
certificate_is_publicly_trusted() {
  [[ -s $SLM_SYSTEM_CAS && -s $SLM_TLS_CERT ]] && ! serves_selfsigned_pair &&
    openssl verify -no-CApath -no-CAstore -CAfile "$SLM_SYSTEM_CAS" -purpose sslserver \
      -untrusted "$SLM_TLS_CERT" "$SLM_TLS_CERT" >/dev/null 2>&1
}

# The value of Strict-Transport-Security, empty where the header is left out.
hsts_value() {
  if certificate_is_publicly_trusted; then
    printf '%s\n' "$SLM_HSTS"
  fi
}
