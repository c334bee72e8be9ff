"""Content keys: what is built from unchanged inputs is not built again."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

KEY_LENGTH = 20
"""Hexadecimal digits of a key: 80 bits, enough for folder names that never collide."""

_NOT_INPUTS = ("__pycache__",)


def content_key(inputs: Mapping[str, str]) -> str:
    """The key of a set of named inputs: sha256 over names and values, independent of their order."""
    return folder_sha256(inputs)[:KEY_LENGTH]


def folder_sha256(inputs: Mapping[str, str]) -> str:
    """sha256 over names and values, in hexadecimal: what content_key is the beginning of."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        for part in (name, inputs[name]):
            raw = part.encode()
            # Lengths in front: no two different sets of inputs give the same bytes.
            digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def folder_inputs(path: Path, name: str, *, leave_out: tuple[str, ...] = ()) -> dict[str, str]:
    """The inputs of every file under `path` (or of the one file it is): content, executable bit, link target.

    Names start with `name`, so that several folders can be put together. `leave_out` are paths relative to
    `path` whose files don't count. Owners, times and the umask of the checkout don't count either.
    """
    if not path.is_dir():
        return {name: _describe(path)}
    inputs: dict[str, str] = {}
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if any(part in _NOT_INPUTS for part in relative.parts) or _is_under(relative, leave_out):
            continue
        if file.is_symlink() or file.is_file():
            inputs[f"{name}/{relative.as_posix()}"] = _describe(file)
    return inputs


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(file: Path) -> str:
    if file.is_symlink():
        return f"link to {file.readlink()}"
    executable = bool(file.stat().st_mode & stat.S_IXUSR)
    return f"{'executable' if executable else 'plain'} {file_sha256(file)}"


def _is_under(relative: Path, folders: tuple[str, ...]) -> bool:
    return any(relative.is_relative_to(folder) for folder in folders)
