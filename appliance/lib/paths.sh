# shellcheck shell=bash disable=SC2034 # the other files read these
# Where things are in the guest. SLM_ROOT moves everything, so that tests run in a folder.

SLM_ROOT=${SLM_ROOT:-}
SLM_APPLIANCE_DIR=${SLM_APPLIANCE_DIR:-$SLM_ROOT/opt/slm-copilot/appliance}

SLM_HOME=$SLM_ROOT/opt/slm-copilot
SLM_FLAVOR_FILE=$SLM_HOME/flavor.env
SLM_ENGINE_DIR=$SLM_HOME/engine
SLM_MODELS_DIR=$SLM_HOME/models

SLM_CONFIG_DIR=$SLM_ROOT/etc/slm-copilot
SLM_ENGINE_ENV=$SLM_CONFIG_DIR/engine.env
# an engine's internal key, and the description of its model, where it needs them
SLM_ENGINE_KEY=$SLM_CONFIG_DIR/engine-key.env
SLM_ENGINE_MODEL=$SLM_CONFIG_DIR/engine-model.yaml
SLM_ENGINE_SECOND_MODEL=$SLM_CONFIG_DIR/engine-second-model.yaml
# the engine's own: what it has read of its clients' prompts
SLM_KEPT_DIR=$SLM_ROOT/var/lib/slm-engine
SLM_PASSWORD_FILE=$SLM_CONFIG_DIR/admin-password

SLM_TLS_DIR=$SLM_ROOT/etc/ssl/slm-copilot
SLM_TLS_CERT=$SLM_TLS_DIR/cert.pem
SLM_TLS_KEY=$SLM_TLS_DIR/key.pem

SLM_NGINX_DIR=$SLM_ROOT/etc/nginx
SLM_NGINX_SITE=$SLM_NGINX_DIR/sites-enabled/slm-copilot.conf
SLM_NGINX_SNIPPETS=$SLM_NGINX_DIR/slm-copilot
SLM_NGINX_AUTH=$SLM_NGINX_SNIPPETS/auth.conf
# The copies of key and password map that nginx reads; nginx.service hands them over.
SLM_PROXY_RUN_DIR=$SLM_ROOT/run/slm-proxy
SLM_PROXY_KEY=$SLM_PROXY_RUN_DIR/key.pem
SLM_PROXY_AUTH=$SLM_PROXY_RUN_DIR/auth.conf
SLM_LOG_SOCKET=$SLM_ROOT/dev/log
SLM_ACME_DIR=$SLM_ROOT/var/lib/slm-copilot/acme

# certbot's own places, and what the appliance remembers about certificates
SLM_LETSENCRYPT_DIR=$SLM_ROOT/etc/letsencrypt
SLM_LETSENCRYPT_WORK=$SLM_ROOT/var/lib/letsencrypt
SLM_LETSENCRYPT_LOGS=$SLM_ROOT/var/log/letsencrypt
SLM_ACME_CA_FILE=$SLM_CONFIG_DIR/acme-ca.pem
SLM_CERTIFICATE_SETTINGS=$SLM_CONFIG_DIR/certificate-settings
SLM_CERTIFICATE_STATE=$SLM_CONFIG_DIR/certificate-state

# Root's own folder on tmpfs: what it says about the engine can't be forged by the engine.
SLM_RUN_DIR=$SLM_ROOT/run/slm-copilot
SLM_READY_FILE=$SLM_RUN_DIR/ready.json
SLM_FAILURE_FILE=$SLM_RUN_DIR/failure
SLM_CERTIFICATE_LOCK=$SLM_RUN_DIR/certificate.lock

SLM_REPORT=${ONE_SERVICE_REPORT:-$SLM_ROOT/etc/one-appliance/config}
SLM_STATUS=${ONE_SERVICE_STATUS:-$SLM_ROOT/etc/one-appliance/status}
SLM_MOTD=${ONE_SERVICE_MOTD:-$SLM_ROOT/etc/motd}
SLM_MOTD_FAILURE=$SLM_ROOT/etc/motd.d/slm-copilot
SLM_MOTD_CERTIFICATE=$SLM_ROOT/etc/motd.d/slm-copilot-certificate
SLM_CONSOLE=${SLM_CONSOLE:-$SLM_ROOT/dev/console}

SLM_PROC=$SLM_ROOT/proc
SLM_CGROUP=$SLM_ROOT/sys/fs/cgroup

SLM_ENGINE_HOST=127.0.0.1
SLM_ENGINE_PORT=${SLM_ENGINE_PORT:-8080}
SLM_HTTPS_PORT=${SLM_HTTPS_PORT:-443}
SLM_HTTP_PORT=${SLM_HTTP_PORT:-80}
SLM_ADMIN_USER='admin'
