#!/usr/bin/env bash
# SLM-Copilot as a one-apps service appliance: a table of contents. OpenNebula's service.sh sources this file under
# `set -e` and umask 0077 and calls the service_* functions; what they do is in lib/, one topic a file.
# shellcheck disable=SC2034 # service.sh reads the ONE_SERVICE_* variables

# Where this file lies in the appliance's folder, or a copy of it in service.d, the rest is beside it or in /opt.
if [[ -z ${SLM_APPLIANCE_DIR:-} ]]; then
  SLM_APPLIANCE_DIR=$(readlink -f "${BASH_SOURCE[0]}")
  SLM_APPLIANCE_DIR=${SLM_APPLIANCE_DIR%/*}
  [[ -d $SLM_APPLIANCE_DIR/lib ]] || SLM_APPLIANCE_DIR=${SLM_ROOT:-}/opt/slm-copilot/appliance
fi

# Bytes are bytes: [A-Z], the length of a value and what counts as printable don't depend on who runs us.
export LC_ALL=C

for _slm_topic in paths service_state failure stage atomic pending units flavor facts parameter_table parameters \
  service_params cpu threads uptime model gguf capacity second_model kept_prompts idle_engine auth \
  tls tls_store tls_names tls_trust tls_pem tls_chain tls_selfsigned acme_state acme_lineage acme_certbot \
  tls_letsencrypt tls_custom certificate_keeper proxy proxy_mending proxy_reload proxy_errors logs watchdog report; do
  # shellcheck source=/dev/null
  . "$SLM_APPLIANCE_DIR/lib/$_slm_topic.sh"
done
unset _slm_topic
mend_service_state

ONE_SERVICE_NAME='Service SLM-Copilot - private AI coding assistant on CPUs'
read -r ONE_SERVICE_VERSION ONE_SERVICE_BUILD < <(flavor_values SLM_VERSION 0.1.0 SLM_BUILD_ID 0)
ONE_SERVICE_SHORT_DESCRIPTION='Private AI coding assistant behind an OpenAI-compatible HTTPS API'
ONE_SERVICE_DESCRIPTION='A language model for coding that runs on this machine'\''s CPUs, without any outside service.

Coding clients connect to https://<address>/v1 with the password as API key. Password, certificate and model are in
/etc/one-appliance/config (root only). Nginx terminates TLS and checks the password; the engine listens on the
loopback only.'
ONE_SERVICE_RECONFIGURABLE=true
ONE_SERVICE_PARAMS=()
list_service_parameters

service_install() {
  run_stage install \
    load_flavor \
    install_model \
    engine_install \
    install_proxy \
    install_certificate_keeper \
    install_watchdog \
    install_log_limits \
    install_runtime_folder \
    write_service_metadata
}

service_configure() {
  run_stage configure \
    load_flavor \
    validate_parameters \
    check_cpu \
    check_tls_mode \
    resolve_addresses \
    resolve_model \
    resolve_second_model \
    resolve_threads \
    check_capacity \
    check_second_capacity \
    begin_idle_engine \
    resolve_password \
    hold_certificate_keeper \
    configure_tls \
    configure_proxy \
    write_certificate_settings \
    engine_configure
}

# The engine loads its model, minutes for a large one, while the proxy starts and a certificate is asked for.
service_bootstrap() {
  run_stage bootstrap \
    load_flavor \
    validate_parameters \
    resolve_addresses \
    resolve_model \
    resolve_second_model \
    resolve_threads \
    resolve_password \
    engine_begin \
    hold_certificate_keeper \
    start_proxy \
    obtain_certificate \
    start_certificate_keeper \
    engine_start \
    check_public_readiness \
    start_watchdog \
    write_report
}

# Runs after every stage, whatever its outcome, also after one that service.sh skipped or refused.
service_cleanup() {
  report_stage_outcome
  wait_for_stage_log
}

service_help() {
  print_parameter_help
}
