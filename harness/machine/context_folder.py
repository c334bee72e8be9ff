"""The context of a container: a folder, and what udev would do when its content is changed."""

from collections.abc import Mapping
from pathlib import Path

CONTEXT_CHANGED = """
if systemctl cat one-context-reconfigure.service >/dev/null 2>&1; then
  systemctl start --no-block one-context-reconfigure.service
else
  systemd-run --quiet --collect --no-block /usr/sbin/one-contextd all reconfigure
fi
"""
"""Starts what the genuine udev rule starts when a context disk was changed, and doesn't wait for it: the new
context may move the guest to an address where this connection does not reach it."""


def replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `files` the content of a folder a guest may be reading: each one changes at once or not at all."""
    for name, content in files.items():
        temporary = folder / f".{name}.new"
        temporary.write_bytes(content)
        temporary.replace(folder / name)
    for old in folder.iterdir():
        if old.name not in files:
            old.unlink()
