#!/usr/bin/env bash
# What `make setup` does: system packages, two virtual environments, Packer. Says what it installs; when nothing
# is missing it says nothing and takes a second. `setup.sh --check` changes nothing and lists what is missing.
# Exit codes: 0 ready, 1 something is missing (--check), 2 it could not be installed.
set -euo pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PACKAGES_TSV="${PROJECT}/setup/packages.tsv"
PYTHON_MINIMUM=3.11
NODE_MINIMUM=18

say() { printf 'setup: %s\n' "$*"; }

fail() {
  printf 'error: setup: %s\n' "$1" >&2
  [[ -z ${2:-} ]] || printf 'hint: %s\n' "$2" >&2
  exit 2
}

# --- system packages

is_there() {
  local wanted=$1
  if [[ ${wanted} == /* ]]; then
    [[ -e ${wanted} ]]
  else
    # System programs are in sbin, which is not in everybody's PATH.
    PATH="${PATH}:/usr/sbin:/sbin" command -v "${wanted}" >/dev/null
  fi
}

python_is_suitable() {
  "$1" - "${PYTHON_MINIMUM}" >/dev/null 2>&1 <<'PYTHON'
import ensurepip, sys, venv
sys.exit(sys.version_info[:2] < tuple(map(int, sys.argv[1].split("."))))
PYTHON
}

# Prints the first Python that is new enough and can make virtual environments.
find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "${candidate}" >/dev/null && python_is_suitable "${candidate}"; then
      command -v "${candidate}"
      return 0
    fi
  done
  return 1
}

missing_packages() {
  local wanted package
  while IFS=$'\t' read -r wanted package; do
    [[ -z ${wanted} || ${wanted} == \#* ]] || is_there "${wanted}" || printf '%s\n' "${package}"
  done <"${PACKAGES_TSV}"
  find_python >/dev/null || printf 'python3-venv\n'
  ! needs_go || printf 'golang-go\n'
}

# Go builds Packer where it isn't installed. From 1.21 on Go fetches the newer Go that a module asks for by itself;
# an older one (Debian 12's) is of no use, and what to do then is told where Packer is looked for.
needs_go() {
  local offered
  if is_there packer || is_there go || ! is_there apt-cache; then
    return 1
  fi
  offered=$(apt-cache policy golang-go 2>/dev/null | sed -nE 's/^ *Candidate: ([0-9]+:)?([0-9.]+).*/\2/p')
  [[ -n ${offered} && $(printf '%s\n' 1.21 "${offered}" | sort -V | head -n 1) == 1.21 ]]
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo -- "$@"
  fi
}

# Packages that bring a server start and enable it; here it must neither run nor take a port, now or at the next boot.
POLICY=/usr/sbin/policy-rc.d
POLICY_IS_OURS=""

forbid_services() {
  [[ ! -e ${POLICY} ]] || return 0
  POLICY_IS_OURS=yes
  as_root sh -c "printf '#!/bin/sh\nexit 101\n' >'${POLICY}' && chmod 0755 '${POLICY}'"
}

allow_services() {
  [[ -z ${POLICY_IS_OURS} ]] || as_root rm -f "${POLICY}"
  POLICY_IS_OURS=""
}

disable_nginx() {
  if command -v systemctl >/dev/null; then
    as_root systemctl disable nginx.service >/dev/null 2>&1 || say "could not disable nginx.service"
  fi
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
    -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

install_packages() {
  local packages=("$@")
  say "installing system packages: ${packages[*]}"
  trap allow_services EXIT
  trap 'exit 130' INT TERM
  forbid_services
  apt_get update || fail "apt-get update failed" "check the network and /etc/apt/sources.list*"
  apt_get install --yes --no-install-recommends "${packages[@]}" ||
    fail "apt-get could not install: ${packages[*]}" "the lines above say why"
  [[ " ${packages[*]} " != *" nginx-light "* ]] || disable_nginx
  allow_services
  trap - EXIT INT TERM
}

provide_packages() {
  local missing=() before=""
  while mapfile -t missing < <(missing_packages | sort -u) && ((${#missing[@]} > 0)); do
    [[ "${missing[*]}" != "${before}" ]] || break
    before="${missing[*]}"
    may_install "${missing[@]}" || return 0
    install_packages "${missing[@]}"
    # Once more: apt's lists, new now, may offer what they did not know before.
  done
  require_nothing_missing
}

# True when packages can be installed. Where they can't, that ends the setup, except in a CI job without root, which
# can still run what needs no system package.
may_install() {
  if ! command -v apt-get >/dev/null; then
    fail "missing here: $*" "this is neither Debian nor Ubuntu: install what these packages carry"
  elif ((EUID == 0)) || command -v sudo >/dev/null; then
    return 0
  elif [[ ${CI:-} == true ]]; then
    say "SKIPPED, this CI job is not root and has no sudo: apt-get install $*"
    return 1
  fi
  fail "missing here: $*" "as root: apt-get install --no-install-recommends $*"
}

require_nothing_missing() {
  local left
  left=$(missing_packages | sort -u | paste -sd ' ')
  if [[ ${left} == python3-venv ]]; then
    fail "no Python >= ${PYTHON_MINIMUM} with venv" "Debian 12, Ubuntu 24.04 and newer have it; put a newer python3 into PATH"
  elif [[ -n ${left} ]]; then
    fail "still missing after apt-get: ${left}"
  fi
}

require_node() {
  local version
  version=$(node --version 2>/dev/null || true)
  version=${version#v}
  [[ -n ${version} && ${version%%.*} -ge ${NODE_MINIMUM} ]] ||
    say "node ${version:-is missing and} is older than ${NODE_MINIMUM}: the check with Node's own fetch can't run"
}

# --- virtual environments

# What an environment was made from. The path is in it because an environment can't be moved.
describe_environment() {
  local python=$1 requirements=$2
  printf '%s\n%s\n' "${PROJECT}" "$("${python}" -c 'import sys; print(sys.version, sys.base_prefix)')"
  sha256sum <"${requirements}"
}

# provide_environment FOLDER REQUIREMENTS WORDS PIP-ARGUMENTS...
provide_environment() {
  local folder="${PROJECT}/$1" requirements="${PROJECT}/$2" words=$3
  shift 3
  local python stamp wanted
  stamp="${folder}/setup.stamp"
  python="${folder}/bin/python"
  if [[ ! -x ${python} ]] || ! python_is_suitable "${python}"; then
    python=$(find_python) || fail "no Python >= ${PYTHON_MINIMUM} with venv" "apt-get install python3-venv"
    say "making ${folder##*/} with $("${python}" --version)"
    rm -rf "${folder}"
    "${python}" -m venv "${folder}" || fail "could not make ${folder}"
    python="${folder}/bin/python"
  fi
  wanted=$(describe_environment "${python}" "${requirements}")
  if [[ -f ${stamp} && $(<"${stamp}") == "${wanted}" ]]; then
    return 0
  fi
  say "installing ${words} into ${folder##*/}"
  rm -f "${stamp}"
  (cd "${PROJECT}" && "${python}" -m pip install --quiet --disable-pip-version-check "$@") ||
    fail "pip could not install ${words}" "check the network and pip's settings (pip config list), then run it again"
  printf '%s\n' "${wanted}" >"${stamp}.new"
  mv "${stamp}.new" "${stamp}"
}

provide_environments() {
  provide_environment .venv pyproject.toml "the harness and its Python packages" --editable '.[lint]'
  provide_environment .venv-openai2 setup/openai2.txt "the openai SDK 2.x" --requirement setup/openai2.txt
}

# --- Packer

# Without Packer tests and most of lint still work, so it is told and not fatal; building an image says it again.
provide_packer() {
  "${PROJECT}/.venv/bin/python" -m harness.image.packer_tools || say "an image can't be built until then"
}

# --- all of it

check_only() {
  local left
  left=$(missing_packages | sort -u | paste -sd ' ')
  [[ -n ${left} ]] || return 0
  say "missing: ${left}"
  return 1
}

_main() {
  if [[ ${1:-} == --check ]]; then
    check_only
    return
  fi
  [[ $# == 0 ]] || fail "unknown argument '$1'" "usage: setup/setup.sh [--check]"
  # One at a time: two terminals may both have typed make.
  exec 9<"${BASH_SOURCE[0]}"
  flock --nonblock 9 || { say "waiting for another setup" && flock 9; }
  provide_packages
  require_node
  provide_environments
  # The lock is not passed on: a background program that Go leaves running would keep it.
  provide_packer 9<&-
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  _main "$@"
fi
