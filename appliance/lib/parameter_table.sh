# Generated from appliance/parameters.yaml by `python -m harness.parameters --write`; don't edit.
# shellcheck shell=bash disable=SC2034 # read by parameters.sh and appliance.sh

declare -ga SLM_PARAM_NAMES=(ONEAPP_SLM_ADMIN_PASSWORD ONEAPP_SLM_CONTEXT_SIZE ONEAPP_SLM_THREADS ONEAPP_SLM_TLS_MODE ONEAPP_SLM_TLS_CERT ONEAPP_SLM_TLS_KEY ONEAPP_SLM_DOMAIN ONEAPP_SLM_ACME_DIRECTORY ONEAPP_SLM_ACME_CA ONEAPP_SLM_CORS_ORIGINS ONEAPP_SLM_MODEL_TEMPERATURE ONEAPP_SLM_SECOND_MODEL)
declare -gA SLM_PARAM_LABEL=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='admin_password'
  [ONEAPP_SLM_CONTEXT_SIZE]='context_size'
  [ONEAPP_SLM_THREADS]='threads'
  [ONEAPP_SLM_TLS_MODE]='tls_mode'
  [ONEAPP_SLM_TLS_CERT]='tls_cert'
  [ONEAPP_SLM_TLS_KEY]='tls_key'
  [ONEAPP_SLM_DOMAIN]='domain'
  [ONEAPP_SLM_ACME_DIRECTORY]='acme_directory'
  [ONEAPP_SLM_ACME_CA]='acme_ca'
  [ONEAPP_SLM_CORS_ORIGINS]='cors_origins'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='temperature'
  [ONEAPP_SLM_SECOND_MODEL]='second_model'
)
declare -gA SLM_PARAM_TYPE=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='password'
  [ONEAPP_SLM_CONTEXT_SIZE]='integer'
  [ONEAPP_SLM_THREADS]='integer'
  [ONEAPP_SLM_TLS_MODE]='choice'
  [ONEAPP_SLM_TLS_CERT]='base64_pem'
  [ONEAPP_SLM_TLS_KEY]='base64_pem'
  [ONEAPP_SLM_DOMAIN]='hostname'
  [ONEAPP_SLM_ACME_DIRECTORY]='https_url'
  [ONEAPP_SLM_ACME_CA]='base64_pem'
  [ONEAPP_SLM_CORS_ORIGINS]='origins'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='decimal'
  [ONEAPP_SLM_SECOND_MODEL]='model_name'
)
declare -gA SLM_PARAM_DEFAULT=(
  [ONEAPP_SLM_CONTEXT_SIZE]='8192'
  [ONEAPP_SLM_THREADS]='0'
  [ONEAPP_SLM_TLS_MODE]='selfsigned'
  [ONEAPP_SLM_ACME_DIRECTORY]='https://acme-v02.api.letsencrypt.org/directory'
  [ONEAPP_SLM_CORS_ORIGINS]='*'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='0.15'
)
declare -gA SLM_PARAM_MINIMUM=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='8'
  [ONEAPP_SLM_CONTEXT_SIZE]='512'
  [ONEAPP_SLM_THREADS]='0'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='0'
)
declare -gA SLM_PARAM_MAXIMUM=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='128'
  [ONEAPP_SLM_CONTEXT_SIZE]='262144'
  [ONEAPP_SLM_THREADS]='1024'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='2'
)
declare -gA SLM_PARAM_CHOICES=(
  [ONEAPP_SLM_TLS_MODE]='selfsigned letsencrypt custom'
)
declare -gA SLM_PARAM_REFUSED=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='changeme change-me password password1 passw0rd 12345678 123456789 1234567890 admin123 administrator opennebula qwertyuiop slm-copilot'
)
declare -gA SLM_PARAM_SECRET=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='true'
  [ONEAPP_SLM_CONTEXT_SIZE]='false'
  [ONEAPP_SLM_THREADS]='false'
  [ONEAPP_SLM_TLS_MODE]='false'
  [ONEAPP_SLM_TLS_CERT]='false'
  [ONEAPP_SLM_TLS_KEY]='true'
  [ONEAPP_SLM_DOMAIN]='false'
  [ONEAPP_SLM_ACME_DIRECTORY]='false'
  [ONEAPP_SLM_ACME_CA]='false'
  [ONEAPP_SLM_CORS_ORIGINS]='false'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='false'
  [ONEAPP_SLM_SECOND_MODEL]='false'
)
declare -gA SLM_PARAM_STAGE=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='configure'
  [ONEAPP_SLM_CONTEXT_SIZE]='configure'
  [ONEAPP_SLM_THREADS]='configure'
  [ONEAPP_SLM_TLS_MODE]='configure'
  [ONEAPP_SLM_TLS_CERT]='configure'
  [ONEAPP_SLM_TLS_KEY]='configure'
  [ONEAPP_SLM_DOMAIN]='configure'
  [ONEAPP_SLM_ACME_DIRECTORY]='configure'
  [ONEAPP_SLM_ACME_CA]='configure'
  [ONEAPP_SLM_CORS_ORIGINS]='configure'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='configure'
  [ONEAPP_SLM_SECOND_MODEL]='configure'
)
declare -gA SLM_PARAM_INPUT=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='O|password'
  [ONEAPP_SLM_CONTEXT_SIZE]='O|text'
  [ONEAPP_SLM_THREADS]='O|text'
  [ONEAPP_SLM_TLS_MODE]='O|list'
  [ONEAPP_SLM_TLS_CERT]='O|text64'
  [ONEAPP_SLM_TLS_KEY]='O|text64'
  [ONEAPP_SLM_DOMAIN]='O|text'
  [ONEAPP_SLM_ACME_DIRECTORY]='O|text'
  [ONEAPP_SLM_ACME_CA]='O|text64'
  [ONEAPP_SLM_CORS_ORIGINS]='O|text'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='O|text'
  [ONEAPP_SLM_SECOND_MODEL]='O|text'
)
declare -gA SLM_PARAM_ACCEPTED=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='8 to 128 characters out of A-Z a-z 0-9 . _ ~ + / = - and no well-known password'
  [ONEAPP_SLM_CONTEXT_SIZE]='a whole number of tokens from 512 to 262144'
  [ONEAPP_SLM_THREADS]='a whole number from 0 to 1024, 0 = all physical cores'
  [ONEAPP_SLM_TLS_MODE]='one of selfsigned, letsencrypt, custom'
  [ONEAPP_SLM_TLS_CERT]='base64 of PEM, the server'\''s certificate (RSA from 2048 bits, EC P-256 or P-384; SHA-256 or better), then its chain'
  [ONEAPP_SLM_TLS_KEY]='base64 of one PEM private key without a passphrase, the certificate'\''s own'
  [ONEAPP_SLM_DOMAIN]='one fully qualified DNS name such as copilot.example.org'
  [ONEAPP_SLM_ACME_DIRECTORY]='an https URL without credentials, query and fragment, such as https://ca.example.org/acme/directory'
  [ONEAPP_SLM_ACME_CA]='base64 of PEM certificates'
  [ONEAPP_SLM_CORS_ORIGINS]='* or a comma list of origins such as https://ide.example.org:8443, at most 32'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='a decimal number from 0 to 2 such as 0.15'
  [ONEAPP_SLM_SECOND_MODEL]='the name of a GGUF file in /opt/slm-copilot/models without its ending, such as qwen2.5-coder-7b; letters, digits, dot, underscore and hyphen, at most 64'
)
declare -gA SLM_PARAM_HELP=(
  [ONEAPP_SLM_ADMIN_PASSWORD]='Password of the API user admin, also accepted as Bearer token; empty = one is generated'
  [ONEAPP_SLM_CONTEXT_SIZE]='Context window in tokens, shared by the clients served at the same time; more costs memory'
  [ONEAPP_SLM_THREADS]='CPU threads for inference; 0 = all physical cores'
  [ONEAPP_SLM_TLS_MODE]='Where the TLS certificate comes from'
  [ONEAPP_SLM_TLS_CERT]='Certificate for TLS mode custom (base64 of PEM)'
  [ONEAPP_SLM_TLS_KEY]='Private key for TLS mode custom (base64 of PEM)'
  [ONEAPP_SLM_DOMAIN]='Domain name of the appliance, for Let'\''s Encrypt and the certificate'\''s names'
  [ONEAPP_SLM_ACME_DIRECTORY]='ACME directory that TLS mode letsencrypt asks for the certificate; empty = Let'\''s Encrypt'
  [ONEAPP_SLM_ACME_CA]='CA certificate that the ACME directory'\''s own TLS is verified with (base64 of PEM); empty = the system'\''s CAs'
  [ONEAPP_SLM_CORS_ORIGINS]='Web origins whose browser pages may call the API'
  [ONEAPP_SLM_MODEL_TEMPERATURE]='Sampling temperature where a request names none; lower is more deterministic'
  [ONEAPP_SLM_SECOND_MODEL]='A second model beside the first, loaded in its place when a request names it (engine LocalAI); empty = none'
)
