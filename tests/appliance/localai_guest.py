"""A guest with LocalAI for its engine: the tree that the harness assembles, a program of cardboard in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from bash_guest import Guest
from gguf_file import SMALL_MODEL, Value, write_gguf

from harness.image.localai_tree import told_to

VERSION = "v3.11.0"
ENGINE = "/opt/slm-copilot/engine"
PROGRAM = '#!/bin/sh\n[ "$*" = "run --version" ] && echo v3.11.0\n'
RUN = '#!/bin/bash\necho "backend ${0%/*} $* ${LLAMACPP_GRPC_SERVERS-none}"\necho more >&2\n'
BUILDS = ("llama-cpp-avx", "llama-cpp-avx2", "llama-cpp-avx512", "llama-cpp-fallback")

INSTALL = "load_flavor; resolve_model; engine_install"
CONFIGURE_ENGINE = (
    "load_flavor; validate_parameters; resolve_model; resolve_second_model; resolve_threads; check_capacity;"
    "check_second_capacity; engine_configure"
)
CONFIGURE = (
    "load_flavor; validate_parameters; resolve_addresses; resolve_model; resolve_second_model;"
    "resolve_threads; check_capacity; check_second_capacity; resolve_password; configure_tls;"
    "configure_proxy; engine_configure"
)
SECOND = {"ONEAPP_SLM_SECOND_MODEL": "Alpha-7b.q4"}
"""A context with a second model. Of the two names it is the first in the alphabet."""


def put_localai(guest: Guest, *, tool_calls: str = "", version: str = VERSION) -> None:
    """What the image build leaves in the guest before its install stage."""
    told = told_to(version)
    guest.write(f"{ENGINE}/local-ai", PROGRAM).chmod(0o755)
    guest.write(f"{ENGINE}/llama-cpp/run.sh", RUN).chmod(0o755)
    for name in BUILDS:
        guest.write(f"{ENGINE}/llama-cpp/{name}", name)
    guest.write(f"{ENGINE}/llama-cpp/lib/ld.so", "")
    guest.write(
        f"{ENGINE}/environment", "".join(f"{name}={value}\n" for name, value in told.environment.items())
    )
    for name, text in told.tool_calls.items():
        guest.write(f"{ENGINE}/tool-calls/{name}.yaml", text)
    flavor = guest.path("/opt/slm-copilot/flavor.env")
    text = flavor.read_text().replace("SLM_ENGINE=llama-server", "SLM_ENGINE=localai")
    text = text.replace("SLM_ENGINE_VERSION=1.2.3", f"SLM_ENGINE_VERSION={version}")
    flavor.write_text(f"{text}SLM_MODEL_TOOL_CALLS={tool_calls}\n")
    guest.stub("id", "#!/bin/sh\necho 990\n")
    guest.stub("chown", "#!/bin/sh\n")
    guest.environment["SLM_NGINX_MODULES"] = "/usr/lib/nginx/modules"


def put_second_model(
    guest: Guest,
    header: Mapping[str, Value] = SMALL_MODEL,
    size: int = 0,
    name: str = SECOND["ONEAPP_SLM_SECOND_MODEL"],
) -> Path:
    """A GGUF file as somebody places it, readable by its owner alone."""
    path = write_gguf(guest.path(f"/opt/slm-copilot/models/{name}.gguf"), header, size=size)
    path.chmod(0o600)
    return path


def load_njs(guest: Guest) -> None:
    """nginx.conf with the module that the site asks for, as install_proxy leaves it."""
    main = guest.path("/etc/nginx/nginx.conf")
    main.write_text(guest.run("load_flavor; render_modules").stdout + main.read_text())


def configured(guest: Guest, **variables: str) -> Guest:
    """The guest after its install and its first configure stage."""
    load_njs(guest)
    guest.run(INSTALL)
    guest.run(CONFIGURE, **variables)
    return guest


def environment_of(path: Path) -> dict[str, str]:
    """The variables of a systemd environment file whose values stand in double quotes."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition("=")
        assert value[:1] == value[-1:] == '"', f"{line} is not quoted"
        assert name not in found, f"{name} stands twice"
        found[name] = value[1:-1]
    return found


def copy_tree(guest: Guest, target: Path) -> None:
    """The guest's engine folder somewhere else, links as links."""
    shutil.copytree(guest.path(ENGINE), target, symlinks=True)
