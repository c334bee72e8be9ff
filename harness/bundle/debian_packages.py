"""The Debian packages of an image with their licences, from what dpkg and the packages left in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.strict_yaml import Reader, read_yaml

LICENCES_FILE = Path(__file__).with_name("debian_licences.yaml")

_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])")
_WORD = r"[A-Za-z0-9][A-Za-z0-9.+_/-]*"
_SHORT_NAME = re.compile(
    rf"\(?{_WORD}\)?(?: with [A-Za-z0-9.+_ -]+? exception)?"
    rf"(?:,? (?:and|or) \(?{_WORD}\)?(?: with [A-Za-z0-9.+_ -]+? exception)?)*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DebianPackage:
    """One installed package. `licences` are the names that its copyright file uses, as it writes them;
    `told_by` says how they were found there: machine-readable, references, or "" where none were."""

    name: str
    version: str
    architecture: str
    source: str
    licences: tuple[str, ...] = ()
    told_by: str = ""


def installed_packages(status: str, doc: Path) -> tuple[DebianPackage, ...]:
    """The packages that dpkg's status file calls installed, by name. `doc` is the guest's /usr/share/doc."""
    found = []
    for stanza in _stanzas(status):
        if stanza.get("Status", "").split()[-1:] != ["installed"]:
            continue
        name = stanza["Package"]
        licences, told_by = licences_of(_copyright(doc, name))
        source = stanza.get("Source", name).split(" ")[0]
        found.append(
            DebianPackage(name, stanza["Version"], stanza["Architecture"], source, licences, told_by)
        )
    return tuple(sorted(found, key=lambda one: (one.name, one.architecture)))


def licences_of(text: str) -> tuple[tuple[str, ...], str]:
    """The licences that a copyright file names, and how it names them.

    A machine-readable one (Debian's copyright-format 1.0) has short names in its License fields; of another
    one only what it refers to in /usr/share/common-licenses can be told.
    """
    if text.startswith("Format:") or "\nFormat:" in text:
        named = [
            " ".join(line.partition(":")[2].split())
            for line in text.splitlines()
            if line.lower().startswith("license:")
        ]
        short = {name for name in named if _SHORT_NAME.fullmatch(name)}
        if short:
            return tuple(sorted(short)), "machine-readable"
    common = set(_COMMON.findall(text))
    return tuple(sorted(common)), "references" if common else ""


@cache
def spdx_names() -> Mapping[str, str]:
    """SPDX identifiers by Debian's short names in lower case."""
    reader = Reader(LICENCES_FILE)
    top = reader.mapping(read_yaml(LICENCES_FILE), "the file", required={"spdx"})
    return {str(debian).lower(): str(spdx) for debian, spdx in top["spdx"].items()}


def _copyright(doc: Path, package: str) -> str:
    """The copyright file of a package; its folder may be a link to another package's."""
    path = doc / package / "copyright"
    try:
        inside = path.resolve().is_relative_to(doc.resolve())
        return path.read_text(encoding="utf-8", errors="replace") if inside else ""
    except (OSError, RuntimeError):  # links in a circle are a RuntimeError
        return ""


def _stanzas(status: str) -> Iterator[dict[str, str]]:
    """The fields of each paragraph; continued lines are left out."""
    for paragraph in re.split(r"\n\s*\n", status.strip()):
        fields = {}
        for line in paragraph.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line[:1].isspace():
                fields[name] = value.strip()
        if "Package" in fields:
            yield fields
