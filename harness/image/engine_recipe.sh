#!/bin/bash
# Builds llama-server and llama-bench inside the clean build root that harness/image/engine.py makes.
# /src holds llama.cpp; the result, and nothing else, is left in /engine.
set -euo pipefail

TARGETS=(llama-server llama-bench)

configure() {
  local options=(
    -DCMAKE_BUILD_TYPE=Release
    # One library a CPU generation, the best one chosen when the engine starts: the image runs on any x86-64.
    -DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON
    # No network client and no TLS in the engine: Nginx does that, and models are in the image.
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
    # The prebuilt UI would be downloaded in the middle of the build.
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
    -DLLAMA_BUILD_NUMBER=0 "-DLLAMA_BUILD_COMMIT=${SLM_SOURCE_NAME}"
    # Libraries are found beside the program, wherever that is.
    "-DCMAKE_INSTALL_RPATH=\$ORIGIN" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON
  )
  cmake -S /src -B /build -G Ninja "${options[@]}"
}

compile() {
  NINJA_STATUS='[%f/%t] ' nice ninja -C /build "${TARGETS[@]}"
}

# Libraries under the names that programs ask for, without links: the staging disk and every copy keeps them.
collect() {
  local file name
  mkdir -p /engine/licenses
  for file in "${TARGETS[@]}"; do
    install -m 0755 "/build/bin/${file}" "/engine/${file}"
  done
  for file in /build/bin/*.so*; do
    [[ -L ${file} ]] && continue
    name=$(objdump -p "${file}" | awk '$1 == "SONAME" { print $2 }')
    install -m 0755 "${file}" "/engine/${name:-${file##*/}}"
  done
  strip --strip-unneeded /engine/llama-* /engine/*.so*
  install -m 0644 /src/LICENSE /engine/LICENSE
  install -m 0644 /src/licenses/LICENSE-* /engine/licenses/
  install -m 0644 /src/vendor/cpp-httplib/LICENSE /engine/licenses/LICENSE-cpp-httplib
}

# A tree that does not even start is found here, not in a guest.
try_out() {
  rm -rf /build /src
  /engine/llama-server --version 2>/engine/version.txt
  /engine/llama-bench --help >/dev/null
}

_main() {
  configure
  compile
  collect
  try_out
}

_main
