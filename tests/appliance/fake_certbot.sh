#!/usr/bin/env bash
# Stands in for certbot in the tests of the appliance's bash: writes a lineage as certbot 2.1 does, asks nobody.
# Fails with the text of $SLM_ROOT/certbot-says while that file is there; dies after writing $CERTBOT_DIES_AFTER files.
set -euo pipefail

echo "$*" >>"$SLM_ROOT/certbot.log"
command=$1
shift
while (($#)); do
  case "$1" in
    --config-dir) home=$2 ;;
    --domain) domain=$2 ;;
    --server) server=$2 ;;
  esac
  shift
done
if [[ -e $SLM_ROOT/certbot-says ]]; then
  cat "$SLM_ROOT/certbot-says" >&2
  exit 1
fi

written=0
store() {
  ((written++ != ${CERTBOT_DIES_AFTER:--1})) || kill -KILL $$
  cat >"$1"
}

live=$home/live/slm-copilot archive=$home/archive/slm-copilot renewal=$home/renewal/slm-copilot.conf
if [[ $command == renew ]]; then
  server=$(sed -n 's/^server = //p' "$renewal")
  domain=$(openssl x509 -in "$live/cert.pem" -noout -ext subjectAltName | sed -n 's/.*DNS://p')
fi
account=$home/accounts/${server#https://}/0123abcd
if [[ -d $account && (! -s $account/meta.json || ! -s $account/regr.json || ! -s $account/private_key.json) ]]; then
  echo 'An unexpected error occurred: an account that was not written completely' >&2
  exit 1
fi
mkdir -p "$live" "$archive" "${renewal%/*}" "$account" "$home/csr" "$home/keys"
for file in meta regr private_key; do
  [[ -s $account/$file.json ]] || store "$account/$file.json" <<<'{}'
done
number=1
while [[ -e $archive/cert$number.pem ]]; do
  number=$((number + 1))
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "${CERTBOT_DAYS:-90}" -subj "/CN=$domain" \
  -addext "subjectAltName=DNS:$domain" -keyout "$work/key" -out "$work/cert" 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 900 -subj '/CN=Intermediate' \
  -keyout /dev/null -out "$work/chain" 2>/dev/null
store "$archive/privkey$number.pem" <"$work/key"
store "$archive/cert$number.pem" <"$work/cert"
store "$archive/chain$number.pem" <"$work/chain"
cat "$work/cert" "$work/chain" | store "$archive/fullchain$number.pem"
for kind in privkey cert chain fullchain; do
  ((written++ != ${CERTBOT_DIES_AFTER:--1})) || kill -KILL $$
  ln -sfn "../../archive/slm-copilot/$kind$number.pem" "$live/$kind.pem"
done
printf 'version = 2.1.0\ncert = %s/cert.pem\n[renewalparams]\naccount = 0123abcd\nserver = %s\n' "$live" "$server" |
  store "$renewal"
if [[ $command == renew ]]; then
  for hook in "$home"/renewal-hooks/deploy/*; do
    [[ ! -x $hook ]] || RENEWED_LINEAGE=$live RENEWED_DOMAINS=$domain "$hook"
  done
fi
