"""Packer and its QEMU plugin: the host's own where they are new enough, else built with Go from packer/tools.

Nothing but the Go module proxy is asked, and only by Go itself, whose checksums (go.sum, Go's public checksum
database) stay on. Air-gapped: put `packer` in PATH and the plugin where Packer looks for plugins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from harness.errors import HarnessError
from harness.image.artifacts import Module, is_offline, load_artifacts
from harness.image.content_key import content_key, folder_inputs
from harness.image.external_tool import run_tool
from harness.locations import GIB, REPOSITORY, require_free, tools
from harness.locking import exclusive
from harness.terminal import Step, complain, step

MODULES = REPOSITORY / "packer" / "tools"
"""One Go module for Packer and one for the plugin, so that one can be built where the other can't."""

PLUGIN_SOURCE = "github.com/hashicorp/qemu"
"""The plugin's address in required_plugins."""

_BUILD_SPACE = 3 * GIB
"""Bytes that downloading Packer's modules and compiling them take (measured: 2.3 GiB), with a margin."""

REMEMBERED_S = 24 * 3600.0
"""How long a plugin that could not be built is not tried again."""

Version = tuple[int, int, int]

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_PLUGIN_FILE = re.compile(r"packer-plugin-qemu_v(\d+\.\d+\.\d+)_x\d+\.\d+_linux_(amd64|arm64)")


def packer_binary() -> Path:
    """Packer, new enough for this project. Raises HarnessError when there is none and it can't be built."""
    wanted = load_artifacts().modules["packer"]
    return _packer_in_path(wanted) or _built("packer", wanted)


def plugin_folder(during: Step) -> Path:
    """The value for PACKER_PLUGIN_PATH: a plugin folder that holds the QEMU plugin, new enough and undamaged.

    It is built within the step `during`, of which its failing is no failure: Packer has another way. Raises
    HarnessError when there is none and it can't be built; that is remembered for REMEMBERED_S.
    """
    wanted = load_artifacts().modules["packer-plugin-qemu"]
    installed = installed_plugin_folder()
    if installed is not None:
        return installed
    binary = _built("packer-plugin-qemu", wanted, during)
    folder = binary.parent / "plugins"
    if not _has_plugin(folder, wanted):
        _register(binary, folder)
    return folder


def installed_plugin_folder() -> Path | None:
    """The first of Packer's own plugin folders that holds the QEMU plugin, new enough and undamaged; None
    where it would have to be built."""
    wanted = load_artifacts().modules["packer-plugin-qemu"]
    return next((folder for folder in _plugin_folders() if _has_plugin(folder, wanted)), None)


def provide() -> int:
    """Get Packer for `make setup` and return its exit code; that it can't be had is told in one line.

    The plugin is only looked for when an image is built: Packer has another way where it is missing.
    """
    try:
        packer_binary()
    except HarnessError as error:
        complain(error.message, error.hint)
        return error.exit_code
    return 0


def parse_version(text: str) -> Version | None:
    """The first version number in a text: `Packer v1.15.1` is (1, 15, 1), `go1.25` is (1, 25, 0)."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _packer_in_path(wanted: Module) -> Path | None:
    found = shutil.which("packer")
    if found is None:
        return None
    # cracklib has a program of this name too, which waits for its standard input.
    printed = _output([found, "version"])
    version = parse_version(printed) if "Packer v" in printed else None
    minimum = parse_version(wanted.minimum)
    assert minimum is not None
    return Path(found) if version is not None and version >= minimum else None


def _plugin_folders() -> Iterator[Path]:
    for folder in os.environ.get("PACKER_PLUGIN_PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder)
    configured = os.environ.get("PACKER_CONFIG_DIR", "")
    yield (Path(configured) if configured else Path.home() / ".config" / "packer") / "plugins"


def _has_plugin(folder: Path, wanted: Module) -> bool:
    """True when a new enough plugin lies under `folder` as Packer installs it, with the right hash."""
    minimum = parse_version(wanted.minimum)
    assert minimum is not None
    place = folder.joinpath(*PLUGIN_SOURCE.split("/"))
    for binary in sorted(place.glob("packer-plugin-qemu_v*_linux_*")) if place.is_dir() else []:
        match = _PLUGIN_FILE.fullmatch(binary.name)
        sums = binary.with_name(f"{binary.name}_SHA256SUM")
        if match is None or not sums.is_file():
            continue
        version = parse_version(match[1])
        if version is not None and version >= minimum and _sha256(binary) == sums.read_text().split()[0]:
            return True
    return False


def _register(binary: Path, folder: Path) -> None:
    """Let Packer itself install the binary as a plugin: it knows the names and the checksum file it wants."""
    result = subprocess.run(
        [packer_binary(), "plugins", "install", "--path", binary, PLUGIN_SOURCE],
        env={**os.environ, "PACKER_PLUGIN_PATH": str(folder), "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if result.returncode != 0:
        reason = " ".join((result.stderr or result.stdout).split())
        raise HarnessError(f"Packer refused its QEMU plugin {binary}: {reason}")


def _built(name: str, wanted: Module, during: Step | None = None) -> Path:
    """The program built from packer/tools, from the cache where its module and this recipe are unchanged."""
    module = MODULES / name
    key = content_key({"recipe": repr(_go_command(wanted, Path("x"))), **folder_inputs(module, name)})
    folder = tools() / f"{name}-{wanted.version}-{key}"
    binary = folder / name
    if binary.is_file():
        return binary
    failure = folder.with_name(f"{folder.name}.failed")
    if during is not None:
        _recall(failure, wanted)
    with exclusive(f"tool-{name}", f"another build of {name}"):
        if not binary.is_file():
            try:
                _build(name, wanted, module, folder, during)
            except _CannotBeBuilt as error:
                if during is not None:
                    failure.write_text(error.message, encoding="utf-8")
                raise
    return binary


class _CannotBeBuilt(HarnessError):
    """Go could not get or compile the program, which another try would not change soon."""


def _recall(failure: Path, wanted: Module) -> None:
    """Raise what the last attempt ended with, where that isn't long ago."""
    try:
        past_s = time.time() - failure.stat().st_mtime
        message = failure.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    if past_s < REMEMBERED_S:
        raise HarnessError(message, hint=f"{_how_to_get(wanted)}; to try again now, remove {failure}")


def _build(name: str, wanted: Module, module: Path, folder: Path, during: Step | None) -> None:
    if is_offline():
        raise HarnessError(
            f"SLM_OFFLINE is set and {name} >= {wanted.minimum} is not on this host", hint=_how_to_get(wanted)
        )
    go = _go(module, wanted)
    require_free(folder, _BUILD_SPACE, f"building {name}")
    log = tools() / f"{name}.log"
    log.unlink(missing_ok=True)
    title = f"build {name} {wanted.version} with Go (minutes the first time)"
    with (
        step(title) if during is None else nullcontext(during) as progress,
        tempfile.TemporaryDirectory(prefix=f".{name}-", dir=tools()) as made,
    ):
        progress.waiting_for(f"Go modules and the compiler for {name}")
        # A copy: what Go writes into go.mod or go.sum never changes the checkout.
        work = Path(made) / "module"
        shutil.copytree(module, work)
        result = Path(made) / "result"
        result.mkdir()
        command = [str(go), *_go_command(wanted, result / name)]
        if not (work / "go.sum").is_file():
            command.insert(2, "-mod=mod")
        try:
            run_tool(
                command, what=f"building {name}", log=log, cwd=work, env={"CGO_ENABLED": "0", "GOWORK": "off"}
            )
        except HarnessError as error:
            raise _CannotBeBuilt(
                f"{name} >= {wanted.minimum} is not on this host and could not be built: {error.message}",
                hint=f"{_how_to_get(wanted)}; the whole log: {log}",
            ) from error
        shutil.rmtree(folder, ignore_errors=True)
        result.rename(folder)
        log.unlink()


def _go_command(wanted: Module, target: Path) -> list[str]:
    flags = "-s -w"
    if wanted.name == "packer-plugin-qemu":
        # Its sources call themselves a development version, which Packer refuses; releases clear the mark so.
        flags += f" -X {wanted.module}/version.VersionPrerelease="
    return ["build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(target), wanted.module]


def _go(module: Path, wanted: Module) -> Path:
    """Go, when it is new enough for the module's go.mod or fetches a newer one by itself (Go >= 1.21)."""
    needed = next(
        line.split()[1] for line in (module / "go.mod").read_text().splitlines() if line[:3] == "go "
    )
    found = shutil.which("go")
    have = _output([found, "env", "GOVERSION", "GOTOOLCHAIN"]).split() if found else []
    version = parse_version(have[0]) if have else None
    if found is None or version is None:
        raise HarnessError(
            f"{wanted.name} >= {wanted.minimum} is not installed, and no Go to build it",
            hint=_how_to_get(wanted),
        )
    fetches_newer = version >= (1, 21, 0) and have[-1] != "local"
    minimum = parse_version(needed)
    assert minimum is not None
    if version < minimum and not fetches_newer:
        raise HarnessError(
            f"{wanted.name} >= {wanted.minimum} is not installed, and Go {have[0]} is too old to build it: "
            f"{needed} is needed",
            hint=_how_to_get(wanted),
        )
    return Path(found)


def _how_to_get(wanted: Module) -> str:
    if wanted.name == "packer":
        return f"install Packer >= {wanted.minimum} into PATH, or Go >= 1.25.8 to build it"
    return (
        f"where the network allows it: packer plugins install {PLUGIN_SOURCE} {wanted.version}; "
        f"air-gapped: packer plugins install --path FILE {PLUGIN_SOURCE}"
    )


def _output(command: list[str]) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            # Packer asks its maker for news otherwise.
            env={**os.environ, "CHECKPOINT_DISABLE": "1"},
        ).stdout
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(provide())
