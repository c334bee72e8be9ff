"""Where the project keeps things on the host, and whether there is room for more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.errors import HarnessError

REPOSITORY = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds Makefile, appliance/ and harness/."""

MIB = 1024 * 1024
GIB = 1024 * MIB


def cache_root() -> Path:
    """The folder of everything that may be thrown away and made again; it lies outside the checkout.

    ``SLM_CACHE`` when set, else ``$XDG_CACHE_HOME/slm-copilot``, else ``~/.cache/slm-copilot``.
    Relative values of ``XDG_CACHE_HOME`` are ignored, as the XDG base directory specification asks.
    """
    chosen = os.environ.get("SLM_CACHE", "")
    if chosen:
        return Path(chosen).expanduser().resolve()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():
        return xdg / "slm-copilot"
    return Path.home() / ".cache" / "slm-copilot"


def _room(name: str) -> Path:
    folder = cache_root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"cannot create the cache folder {folder}: {error.strerror}",
            hint="set SLM_CACHE to a folder you can write to",
        ) from error
    return folder


def downloads() -> Path:
    """Downloaded files under the names artifacts.yaml gives them; may be filled by hand."""
    return _room("downloads")


def engines() -> Path:
    """Built engine trees, one folder per content key."""
    return _room("engines")


def bases() -> Path:
    """Base disks, one folder per content key."""
    return _room("base")


def images() -> Path:
    """Finished images, one folder per content key."""
    return _room("images")


def tools() -> Path:
    """Packer and its plugin, built from packer/tools."""
    return _room("tools")


def roots() -> Path:
    """Raw root disks for nspawn, one folder per image sha256."""
    return _room("roots")


def sizing() -> Path:
    """Files of a model's shape with random weights; they are there only while this host is measured."""
    return _room("sizing")


def locks() -> Path:
    """Lock files: one process at a time downloads or builds the same thing."""
    return _room("locks")


def probes() -> Path:
    """What the accelerator probe found out about this host."""
    return _room("probes")


def instruments() -> Path:
    """Measuring programs compiled from harness/bench, named by their content keys."""
    return _room("instruments")


def free_bytes(path: Path) -> int:
    """Bytes an unprivileged user can still write where ``path`` or its nearest existing parent is."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def require_free(path: Path, needed: int, what: str) -> None:
    """Raise HarnessError when fewer than ``needed`` bytes are free where ``path`` is (or will be)."""
    free = free_bytes(path)
    if free < needed:
        raise HarnessError(
            f"not enough disk space for {what}: needs {needed / MIB:,.0f} MiB, "
            f"{free / MIB:,.0f} MiB are free at {path}, {(needed - free) / MIB:,.0f} MiB short",
            hint="free some space, or set SLM_CACHE to a folder on a larger disk",
        )
