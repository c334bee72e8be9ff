"""marketplace/appliance.yaml: what the marketplace is told that nothing else in the project knows."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.locations import REPOSITORY
from harness.profiles import Profile, find_profile
from harness.strict_yaml import Reader, read_yaml

MARKETPLACE = REPOSITORY / "marketplace"
DECLARATION = MARKETPLACE / "appliance.yaml"

NAME = re.compile(r"[a-z]+(-[a-z]+)*")
"""The community's Makefile cuts a name at its first digit, its test handler at its last underscore."""


@dataclass(frozen=True)
class Declaration:
    """What the marketplace is told of one flavor; the words are those at the head of the file."""

    name: str
    flavor: str
    uuid: str
    title: str
    publisher: str
    publisher_email: str
    image_url: str
    short_description: str
    tags: tuple[str, ...]
    opennebula_versions: tuple[str, ...]
    graphics: Mapping[str, str]
    nic_model: str
    certification: Mapping[str, str]
    notes_metrics: tuple[str, ...]
    profile: Profile


def load_declaration(flavor: str, path: Path = DECLARATION) -> Declaration:
    """What is declared for a flavor. Raises HarnessError naming the file, the place and the problem."""
    reader = Reader(path)
    known = set(Declaration.__dataclass_fields__) - {"flavor", "uuid", "title", "profile"}
    top = reader.mapping(read_yaml(path), "the file", required=known | {"flavors"})
    flavors = top["flavors"]
    if not isinstance(flavors, dict) or flavor not in flavors:
        reader.fail("flavors", f"has nothing for flavor {flavor}")
    where = f"flavors, {flavor}"
    own = reader.mapping(flavors[flavor], where, required={"uuid", "title", "profile"})
    if not NAME.fullmatch(str(top["name"])):
        reader.fail("name", f"must be words of a to z joined by hyphens, not {top['name']!r}")
    return Declaration(
        name=top["name"],
        flavor=flavor,
        uuid=_uuid(reader, own["uuid"], where),
        title=_text(reader, own, "title", where),
        publisher=_text(reader, top, "publisher", "the file"),
        publisher_email=_text(reader, top, "publisher_email", "the file"),
        image_url=_text(reader, top, "image_url", "the file"),
        short_description=_text(reader, top, "short_description", "the file"),
        tags=_texts(reader, top, "tags"),
        opennebula_versions=_texts(reader, top, "opennebula_versions"),
        graphics=_text_map(reader, top, "graphics"),
        nic_model=_text(reader, top, "nic_model", "the file"),
        certification=_text_map(reader, top, "certification"),
        notes_metrics=_texts(reader, top, "notes_metrics"),
        profile=find_profile(_text(reader, own, "profile", where)),
    )


def _text(reader: Reader, fields: Mapping[str, Any], key: str, where: str) -> str:
    value = fields[key]
    if not isinstance(value, str) or not value.strip():
        reader.fail(f"{where}, {key}", f"must be a text, not {value!r} (quote numbers)")
    return value


def _texts(reader: Reader, fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = fields[where]
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        reader.fail(where, "must be a list of texts (quote numbers)")
    return tuple(value)


def _text_map(reader: Reader, fields: Mapping[str, Any], where: str) -> dict[str, str]:
    value = fields[where]
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        reader.fail(where, "must be a mapping from names to texts (quote numbers)")
    return {str(name): one for name, one in value.items()}


def _uuid(reader: Reader, value: object, where: str) -> str:
    try:
        parsed = str(uuid.UUID(str(value)))
    except ValueError:
        parsed = ""
    if parsed != value:
        reader.fail(f"{where}, uuid", f"must be a UUID in lower case, not {value!r}")
    return parsed
