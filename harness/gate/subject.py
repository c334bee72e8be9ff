"""The image that the gate judges: its file, and what its image.json says it was made of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.image.build import SIDECAR, UNKNOWN, Image, load_image

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Part:
    """One downloaded file that went into the image, as appliance/artifacts.yaml described it at the build."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    what: str
    origin: str
    role: str = ""

    @property
    def is_pinned(self) -> bool:
        """Whether the build could only have used this very file."""
        return bool(_SHA256.fullmatch(self.sha256)) and len(set(self.sha256)) > 1


@dataclass(frozen=True)
class Subject:
    """An image under judgement. `built` is None and `parts` is None where nobody wrote them down."""

    image: Image
    version: str = UNKNOWN
    model_file: str = UNKNOWN
    virtual_size: int = 0
    built: datetime | None = None
    parts: tuple[Part, ...] | None = None

    @property
    def sha256(self) -> str:
        """Of the image's file: results name the image by it."""
        return self.image.sha256

    @property
    def unpinned(self) -> tuple[str, ...]:
        """The parts that artifacts.yaml didn't fix by a hash: placed by hand, nobody vouches for them."""
        bare = tuple(part.name for part in self.parts or () if not part.is_pinned)
        return (*self.image.unpinned, *bare)


def load_subject(path: Path) -> Subject:
    """The image and its image.json. Raises HarnessError when it isn't a readable image, or its papers are
    written in a way that no build of ours writes them."""
    _require_readable_papers(path)
    image = load_image(path)
    facts = _facts_of(image)
    return Subject(
        image=image,
        version=str(facts.get("version", UNKNOWN)),
        model_file=str(facts.get("model_file", UNKNOWN)),
        virtual_size=facts.get("virtual_size", 0),
        built=_time(facts.get("built")),
        parts=_parts(facts.get("parts")),
    )


_KINDS = {
    **dict.fromkeys(
        ("flavor", "base", "engine", "engine_version", "model", "version", "model_file", "built"), str
    ),
    "virtual_size": int,
    "parts": list,
    "unpinned": list,
}
"""What image.json holds, as far as the gate reads it."""

_WORDS = {str: "a text", int: "a whole number", list: "a list"}


def _require_readable_papers(path: Path) -> None:
    sidecar = path.parent / SIDECAR
    try:
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # as if there were none: the image is of no flavor that is known
    for name, kind in _KINDS.items() if isinstance(facts, dict) else ():
        if name in facts and type(facts[name]) is not kind:
            raise HarnessError(
                f"{sidecar}: {name} must be {_WORDS[kind]}, not {str(facts[name])[:60]!r}",
                hint="build the image again: make image",
            )


def _facts_of(image: Image) -> Mapping[str, Any]:
    try:
        facts = json.loads((image.path.parent / SIDECAR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    # A sidecar of another file's content says nothing about this one.
    return facts if isinstance(facts, dict) and facts.get("sha256") == image.sha256 else {}


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return time if time.tzinfo else None


def _parts(value: object) -> tuple[Part, ...] | None:
    if not isinstance(value, list) or not value:
        return None
    names = ("name", "version", "file", "sha256", "licence", "what", "origin", "role")
    if not all(isinstance(one, dict) for one in value):
        return None
    return tuple(Part(**{name: str(one.get(name, "")) for name in names}) for one in value)
