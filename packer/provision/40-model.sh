#!/bin/bash
# Copies the model's weights.
set -euo pipefail

STAGE=/run/slm-stage
MODELS_DIR=/opt/slm-copilot/models

install -d -m 0755 "${MODELS_DIR}"
install -m 0644 "${STAGE}"/artifacts/models/*.gguf "${MODELS_DIR}/"
