# The only thing people type. `make help` lists targets and variables.

# What a run is asked for; each is also an option of `slm` (see `.venv/bin/slm test-image --help`).
PROFILES    ?= ci
TLS_MODES   ?= selfsigned custom letsencrypt
MACHINE     ?= qemu
ACCELERATOR ?= auto
SUITES      ?=
CELLS       ?=
JOBS        ?= auto
FLAVOR      ?= ci
BASE        ?=
ENGINE      ?=
KEEP        ?= never
IMAGE       ?=
TESTS       ?=
RESULTS     ?=
A           ?=
B           ?=
THRESHOLD   ?= 5
MODEL       ?= devstral-24b-q4km
URL         ?=
CA          ?=
FINGERPRINT ?=
PASSWORD_FILE ?=
comma       := ,
PROFILE     ?= $(firstword $(subst $(comma), ,$(PROFILES)))
TLS_MODE    ?= $(firstword $(subst $(comma), ,$(filter-out all,$(TLS_MODES))) selfsigned)

# Recipes read them from the environment: no quoting of a value can then break, or become, a command.
export PROFILES TLS_MODES MACHINE ACCELERATOR SUITES CELLS JOBS FLAVOR BASE ENGINE KEEP IMAGE TESTS MODEL PROFILE TLS_MODE A B THRESHOLD RESULTS URL CA FINGERPRINT PASSWORD_FILE

BIN   := .venv/bin
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

.DEFAULT_GOAL := help
.PHONY: help setup lint test fetch image test-image test-endpoint bench bench-compare shell size-host report gate release clean

help: ## list targets and variables
	@printf 'targets:\n'
	@sed -nE 's/^([a-z][a-z-]*):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
	@printf 'variables (make test-image MACHINE=nspawn TESTS=auth; bench takes the six marked *):\n'
	@printf '  %s\n' \
	  'PROFILES=ci           * hardware profiles of profiles.yaml, several by space or comma' \
	  'TLS_MODES="selfsigned custom letsencrypt"  TLS modes; the first one has the conformance suite whole' \
	  'MACHINE=qemu          * qemu: the verdict that counts; nspawn: the fast inner loop, and bench where QEMU only emulates' \
	  'ACCELERATOR=auto      * auto (by a probe), kvm, tcg' \
	  'SUITES=                 suites of suites/cells.yaml, several by space or comma; all: those left out by default too' \
	  'CELLS=                  only these cells of the run (ci-custom), as a failed one names itself' \
	  'JOBS=auto               cells side by side: as many as cores and memory have room for, or a number' \
	  'TESTS=                * only these checks: a pytest -k expression, files or node ids' \
	  'IMAGE=                * judge or measure this qcow2 instead of building one' \
	  'FLAVOR=ci             * what is baked into the image' \
	  'BASE=                 * the distribution it is made on: debian-12, debian-13 (flavor ci)' \
	  'ENGINE=               * its engine: llama-server, localai (docs/localai.md); default: the flavor says' \
	  'MODEL=devstral-24b-q4km the model size-host measures this machine for' \
	  'RESULTS=                gate, release: these results.json or folders of runs instead of all in reports/' \
	  'URL= CA= FINGERPRINT= PASSWORD_FILE=  test-endpoint: its https address; what verifies its certificate; its password' \
	  'KEEP=never              on-error: a failed machine stays up until Ctrl-C' \
	  'A= B= THRESHOLD=5       bench-compare: two runs (folder or results.json) or two qcow2 images; percent that may differ' \
	  'PROFILE= TLS_MODE=      shell and bench-compare: one of each (default: the first of PROFILES and TLS_MODES)' \
	  'SLM_CACHE (environment) cache folder, default ~/.cache/slm-copilot' \
  'SLM_SECOND_MODEL=1 (environment)  puts the flavor'"'"'s second model into the image (docs/localai.md)'

setup: ## install what is missing: system packages, the virtual environment, Packer
	@setup/setup.sh

lint: setup ## ruff, mypy --strict, shellcheck, shfmt, packer, YAML
	@$(BIN)/python -m harness.cli.lint

# Two passes: what bounds or compares times of its own runs alone, and only files with such a test are read for it.
# 1 says that tests failed, and the second pass still tells what it has to tell; anything else (Ctrl-C) ends both.
test: setup ## the fast tests: no VM, a minute or two
	@status=0; \
	$(BIN)/pytest tests -q -m 'not timing' --numprocesses auto --maxprocesses 8 --dist worksteal || status=$$?; \
	((status <= 1)) || exit "$$status"; \
	$(BIN)/pytest $$(grep -rl --include='test_*.py' 'mark\.timing' tests) -q -m timing || status=$$?; \
	exit "$$status"

fetch: setup ## download and verify everything the image is made of
	@$(BIN)/slm fetch --flavor "$$FLAVOR" --engine "$$ENGINE"

image: setup ## build the image, or find it in the cache
	@$(BIN)/slm image --flavor "$$FLAVOR" --base "$$BASE" --engine "$$ENGINE" --accelerator "$$ACCELERATOR"

test-image: setup ## the main job: build the image, boot it, prove it over HTTPS, report
	@exec $(BIN)/slm test-image --image "$$IMAGE" --flavor "$$FLAVOR" --base "$$BASE" --engine "$$ENGINE" \
	  --profiles "$$PROFILES" --tls-modes "$$TLS_MODES" --machine "$$MACHINE" \
	  --accelerator "$$ACCELERATOR" --suites "$$SUITES" --cells "$$CELLS" --jobs "$$JOBS" \
	  --tests "$$TESTS" --keep "$$KEEP"

# A profile is judged by only where one is named: nobody can see from outside what an appliance runs on.
test-endpoint: PROFILE =
test-endpoint: setup ## judge an appliance that runs already, from outside, and measure it
	@exec $(BIN)/slm test-endpoint --url "$$URL" --ca "$$CA" --fingerprint "$$FINGERPRINT" \
	  --password-file "$$PASSWORD_FILE" --profile "$$PROFILE" --tests "$$TESTS"

bench: setup ## measure: tokens per second of the profiles, latencies, what the appliance itself costs
	@exec $(BIN)/slm bench --image "$$IMAGE" --flavor "$$FLAVOR" --base "$$BASE" --engine "$$ENGINE" \
	  --profiles "$$PROFILES" --machine "$$MACHINE" --accelerator "$$ACCELERATOR" --tests "$$TESTS"

bench-compare: setup ## hold run B of the benchmarks against run A, or image B against image A
	@exec $(BIN)/slm bench-compare --threshold "$$THRESHOLD" --profile "$$PROFILE" --machine "$$MACHINE" \
	  --accelerator "$$ACCELERATOR" "$$A" "$$B"

shell: setup ## boot a cell and log in over SSH
	@exec $(BIN)/slm shell --image "$$IMAGE" --flavor "$$FLAVOR" --base "$$BASE" --engine "$$ENGINE" \
	  --profile "$$PROFILE" --tls-mode "$$TLS_MODE" --machine "$$MACHINE" --accelerator "$$ACCELERATOR"

size-host: setup ## tell how fast this machine would be with MODEL, before it is downloaded
	@exec $(BIN)/slm size-host --model "$$MODEL"

report: setup ## draw the reports of the latest run again
	@$(BIN)/slm report

gate: setup ## may this image be released? PASS, FAIL or INCONCLUSIVE by gate.yaml and its results
	@exec $(BIN)/slm gate --image "$$IMAGE" --flavor "$$FLAVOR" --base "$$BASE" --engine "$$ENGINE" --results "$$RESULTS"

release: setup ## the marketplace bundle of an image that passes the gate, in build/release
	@exec $(BIN)/slm release --image "$$IMAGE" --flavor "$$FLAVOR" --base "$$BASE" --engine "$$ENGINE" --results "$$RESULTS"

clean: ## remove the virtual environment, run folders and tool caches; the cache folder of images stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build ./*.egg-info
	find reports -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
