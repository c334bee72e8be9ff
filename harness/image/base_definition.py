"""Bases: which distribution an image starts from, read from packer/base/<name>.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.locations import REPOSITORY
from harness.strict_yaml import Reader, read_yaml

BASE_FOLDER = REPOSITORY / "packer" / "base"
DEFAULT_BASE = "debian-12"

_NAME = re.compile(r"[a-z][a-z0-9.-]{0,30}")
_LISTS = (
    "packages",
    "exclude_paths",
    "include_paths",
    "disable_units",
    "mask_units",
    "mask_generators",
)


@dataclass(frozen=True)
class BaseDefinition:
    """A base that is made here of a distribution's packages. `versions` are the beginnings of those package
    versions that this base stands for; a build that gets others fails."""

    name: str
    suite: str
    versions: Mapping[str, str]
    variant: str
    packages: tuple[str, ...]
    exclude_paths: tuple[str, ...]
    include_paths: tuple[str, ...]
    disable_units: tuple[str, ...]
    mask_units: tuple[str, ...]
    mask_generators: tuple[str, ...]
    size_mib: int
    root_label: str
    bytes_per_inode: int


@dataclass(frozen=True)
class CloudImage:
    """A base that its distribution publishes as a disk image; `artifact` is its name in artifacts.yaml.

    `packages` are installed in the guest, from the distribution's own archive, and `purge` are removed there;
    `suite` and `versions` say what it is, as for a BaseDefinition.
    """

    name: str
    suite: str
    versions: Mapping[str, str]
    artifact: str
    packages: tuple[str, ...]
    purge: tuple[str, ...]
    disable_units: tuple[str, ...]
    mask_units: tuple[str, ...]


Base = BaseDefinition | CloudImage


def known_bases(folder: Path = BASE_FOLDER) -> tuple[str, ...]:
    """Names of the bases there are."""
    return tuple(sorted(file.stem for file in folder.glob("*.yaml")))


def load_base(name: str = DEFAULT_BASE, folder: Path = BASE_FOLDER) -> Base:
    """Read a base. Raises HarnessError for a name that isn't known, or naming what is wrong with the file."""
    path = folder / f"{name}.yaml"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise HarnessError(
            f"there is no base '{name}'", hint=f"known bases: {', '.join(known_bases(folder))}"
        )
    data = read_yaml(path)
    if isinstance(data, dict) and "like" in data:
        return _differing(name, Reader(path), data, folder)
    if isinstance(data, dict) and "artifact" in data:
        return _cloud_image(name, Reader(path), data)
    return _definition(name, Reader(path), data)


def load_definition(name: str = DEFAULT_BASE, folder: Path = BASE_FOLDER) -> BaseDefinition:
    """Read a base that is made here. Raises HarnessError as load_base does, and for a published image."""
    base = load_base(name, folder)
    if not isinstance(base, BaseDefinition):
        raise HarnessError(f"base {name} is downloaded as it is, not made of packages here")
    return base


def _definition(name: str, reader: Reader, data: object) -> BaseDefinition:
    required = {"suite", "versions", "variant", "disk", *_LISTS}
    fields = reader.mapping(data, name, required=required)
    disk = reader.mapping(
        fields["disk"], f"{name}, disk", required={"size_mib", "root_label", "bytes_per_inode"}
    )
    lists = {key: _names(reader, fields, key) for key in _LISTS}
    return BaseDefinition(
        name=name,
        suite=_text(reader, fields, "suite"),
        versions=_versions(reader, fields),
        variant=_text(reader, fields, "variant"),
        **lists,
        size_mib=reader.integer(disk, "size_mib", "disk", low=512, high=1024 * 1024),
        root_label=_text(reader, disk, "root_label"),
        bytes_per_inode=reader.integer(disk, "bytes_per_inode", "disk", low=4096, high=4 * 1024 * 1024),
    )


def _differing(name: str, reader: Reader, data: object, folder: Path) -> BaseDefinition:
    """A base that is another one but for what its file says: names added to lists, names left out of them."""
    fields = reader.mapping(data, name, required={"like", "suite", "versions"}, optional={"add", "leave_out"})
    other = load_definition(_text(reader, fields, "like"), folder)
    added = reader.mapping(fields.get("add", {}), "add", required=set(), optional=set(_LISTS))
    left_out = reader.mapping(fields.get("leave_out", {}), "leave_out", required=set(), optional=set(_LISTS))
    lists: dict[str, Any] = {}
    for key in {*added, *left_out}:
        have: tuple[str, ...] = getattr(other, key)
        more = _names(reader, added, key) if key in added else ()
        less = _names(reader, left_out, key) if key in left_out else ()
        # What makes no difference is a mistake, or a note that has grown old.
        if twice := [one for one in more if one in have]:
            reader.fail(f"add, {key}", f"{other.name} has {', '.join(twice)} already")
        if missing := [one for one in less if one not in have]:
            reader.fail(f"leave_out, {key}", f"{other.name} has no {', '.join(missing)}")
        lists[key] = (*(one for one in have if one not in less), *more)
    return replace(
        other,
        name=name,
        suite=_text(reader, fields, "suite"),
        versions=_versions(reader, fields),
        **lists,
    )


def _cloud_image(name: str, reader: Reader, data: object) -> CloudImage:
    lists = ("packages", "purge", "disable_units", "mask_units")
    fields = reader.mapping(data, name, required={"suite", "versions", "artifact", *lists})
    return CloudImage(
        name=name,
        suite=_text(reader, fields, "suite"),
        versions=_versions(reader, fields),
        artifact=_text(reader, fields, "artifact"),
        packages=_names(reader, fields, "packages"),
        purge=_names(reader, fields, "purge"),
        disable_units=_names(reader, fields, "disable_units"),
        mask_units=_names(reader, fields, "mask_units"),
    )


def _versions(reader: Reader, fields: Mapping[str, Any]) -> Mapping[str, str]:
    versions = fields["versions"]
    if not isinstance(versions, dict) or not versions:
        reader.fail("versions", "must be a mapping of package names to the beginnings of their versions")
    for package, version in versions.items():
        # 1.10 without quotes is the number 1.1
        if not isinstance(package, str) or not isinstance(version, str) or not version:
            reader.fail("versions", f"{package}: must be a version in quotes, not {version!r}")
    return versions


def _text(reader: Reader, fields: Mapping[str, Any], key: str) -> str:
    value = fields[key]
    if not isinstance(value, str) or not value:
        reader.fail(key, f"must be a text, not {value!r}")
    return value


def _names(reader: Reader, fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = fields[key]
    if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
        reader.fail(key, "must be a list of names")
    return tuple(values)
