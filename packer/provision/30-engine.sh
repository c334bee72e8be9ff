#!/bin/bash
# Copies the engine's programs and libraries, side by side as they were built.
set -euo pipefail

STAGE=/run/slm-stage
ENGINE_DIR=/opt/slm-copilot/engine

umask 0022
mkdir -p "${ENGINE_DIR}"
cp -rT --preserve=links "${STAGE}/artifacts/engine" "${ENGINE_DIR}"
chmod -R u=rwX,go=rX "${ENGINE_DIR}"
