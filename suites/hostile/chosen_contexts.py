"""The chosen contexts of contexts.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).with_name("contexts.yaml")
OUTCOMES = ("refused", "accepted", "warned", "unread")

NUL = "\udc80\udc81\udc82"
"""Stands for a NUL byte until context.sh is written: oned's own form of the file can't hold one."""


@dataclass(frozen=True)
class ChosenContext:
    """A context with a name, what must become of it, and a part of what the appliance says of it."""

    name: str
    variables: Mapping[str, str]
    expected: str
    text: str

    @property
    def parameter(self) -> str:
        """The parameter a refusal has to name."""
        return next(iter(self.variables))


def load_contexts() -> list[ChosenContext]:
    """In the order of the file. Raises ValueError for an outcome that doesn't exist."""
    entries = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))["contexts"]
    return [_context(entry) for entry in entries]


def _context(entry: Mapping[str, Any]) -> ChosenContext:
    if entry["expected"] not in OUTCOMES:
        raise ValueError(f"{SOURCE}: {entry['name']}: expected is none of {', '.join(OUTCOMES)}")
    variables = {name: _value(value) for name, value in entry["variables"].items()}
    return ChosenContext(entry["name"], variables, entry["expected"], entry.get("text", ""))


def _value(value: str | Mapping[str, Any]) -> str:
    text = value if isinstance(value, str) else value["repeat"] * value["times"]
    return text.replace("\0", NUL)


def with_nul_bytes(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a context with NUL bytes where the values have them."""
    stand_in = NUL.encode("utf-8", "surrogateescape")
    return {name: content.replace(stand_in, b"\0") for name, content in files.items()}
