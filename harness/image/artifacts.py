"""What appliance/artifacts.yaml says, and the one way to get a file of it: fetched, verified, cached."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from harness.errors import HarnessError
from harness.image.download import DownloadSource, Expected, cached, fetch_file, install_file
from harness.image.registry import package_address
from harness.locations import MIB, REPOSITORY, downloads
from harness.locking import exclusive
from harness.terminal import step

ARTIFACTS_YAML = REPOSITORY / "appliance" / "artifacts.yaml"

_T = TypeVar("_T", str, int)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_PACKAGE = re.compile(r"(?P<project>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)")
_IMAGE = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")
_MODULE_PATH = re.compile(r"[a-z0-9.-]+(/[A-Za-z0-9._-]+)+")


@dataclass(frozen=True)
class Member:
    """The one wanted file inside a downloaded archive."""

    path: str
    expected: Expected


@dataclass(frozen=True)
class Download:
    """One file that is downloaded or placed by hand. Exactly one of `package` (PROJECT==VERSION), `url` and
    `image` (REGISTRY/NAME:TAG) is not empty.

    Where nobody has vouched for it `expected` has size 0 and sha256 "". `checksums` names another download, a
    list of sha256 sums in which it may be looked up; `image_id` is the sha256 of an image's configuration.
    An `optional` one may be missing. `engines` () is all of them. `second_model` says that an image has it
    only where its builder asks. `stage` is where it lies on the staging
    disk, below artifacts/; "" for what gets there another way or not at all.
    """

    name: str
    version: str
    licence: str
    what: str
    flavors: tuple[str, ...]
    expected: Expected
    package: str = ""
    url: str = ""
    member: Member | None = None
    image: str = ""
    image_id: str = ""
    checksums: str = ""
    engines: tuple[str, ...] = ()
    optional: bool = False
    stage: str = ""
    second_model: bool = False

    @property
    def is_vouched_for(self) -> bool:
        """True when artifacts.yaml itself has the file's hash."""
        return bool(self.image_id if self.image else self.expected.sha256)

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        return self.package or self.url or self.image

    @property
    def wanted(self) -> Expected:
        """The file people use in the end: the member where there is one, else the download itself."""
        return self.member.expected if self.member else self.expected


@dataclass(frozen=True)
class Module:
    """A Go module that packer/tools builds; `minimum` is the oldest version that may be used instead."""

    name: str
    module: str
    version: str
    minimum: str
    licence: str


@dataclass(frozen=True)
class System:
    """Where system packages come from, and named lists of them."""

    distribution: str
    suite: str
    licence: str
    lists: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Artifacts:
    """All of artifacts.yaml."""

    downloads: Mapping[str, Download]
    system: System
    modules: Mapping[str, Module]

    def download(self, name: str) -> Download:
        """The download of this name. Raises HarnessError naming the known ones."""
        if name not in self.downloads:
            raise HarnessError(
                f"artifacts.yaml has no download '{name}'", hint=f"known: {', '.join(self.downloads)}"
            )
        return self.downloads[name]

    def for_flavor(self, flavor: str, engine: str = "") -> tuple[Download, ...]:
        """The downloads that every image of this flavor needs with this engine ("": with any), in the order
        of the file."""
        return tuple(
            one
            for one in self.downloads.values()
            if flavor in one.flavors
            and not one.second_model
            and (not engine or not one.engines or engine in one.engines)
        )


def load_artifacts(path: Path = ARTIFACTS_YAML) -> Artifacts:
    """Read and check artifacts.yaml. Raises HarnessError naming the entry and the key that is wrong."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    top = _Entry(path.name, data)
    top.known_keys("schema", "downloads", "system", "modules")
    if top.get("schema", int) != 1:
        raise top.wrong("schema", "must be 1")
    found = {name: _download(name, entry) for name, entry in top.entries("downloads")}
    _refuse_twins(found.values())
    for one in found.values():
        if one.checksums and one.checksums not in found:
            raise HarnessError(f"{path.name}: downloads: {one.name}: checksums names no entry of this file")
    modules = {name: _module(name, entry) for name, entry in top.entries("modules")}
    return Artifacts(downloads=found, system=_system(top.entry("system")), modules=modules)


def fetch(name: str, artifacts: Artifacts | None = None) -> Path:
    """The verified file of a download, from the cache or fetched now; its archive's member where it has one.
    For one that has its hash in artifacts.yaml; the others are provenance.py's.

    Raises HarnessError when the file can't be had or is not what artifacts.yaml says. Nothing half-written is
    left in the cache; a wrong file that was there before is left alone, because someone may have placed it.
    """
    return _fetch((artifacts or load_artifacts()).download(name))


def fetch_all(flavor: str = "ci", artifacts: Artifacts | None = None, engine: str = "") -> dict[str, Path]:
    """All verified files of a flavor by their name in artifacts.yaml, but for those that it has no hash of
    (provenance.py's). `engine` "" is every engine. Raises HarnessError as fetch does.

    Offline (SLM_OFFLINE=1) the error lists every missing file, so that one visit to the outside is enough.
    """
    found = (artifacts or load_artifacts()).for_flavor(flavor, engine)
    if not found:
        raise HarnessError(f"artifacts.yaml has no downloads for flavor '{flavor}'")
    wanted = [one for one in found if one.is_vouched_for and not one.image]
    if is_offline():
        missing = [one for one in wanted if cached(one.wanted) is None and cached(one.expected) is None]
        if missing:
            raise _offline(missing)
    return {one.name: _fetch(one) for one in wanted}


def is_offline() -> bool:
    """True when SLM_OFFLINE says that nothing may be downloaded (1, true, yes or on)."""
    return os.environ.get("SLM_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def _fetch(one: Download) -> Path:
    ready = cached(one.wanted)
    if ready is not None:
        return ready
    with exclusive(f"download-{one.wanted.file}", f"another download of {one.wanted.file}"):
        ready = cached(one.wanted)  # by whoever held the lock
        if ready is not None:
            return ready
        archive = cached(one.expected)
        if archive is None:
            if is_offline():
                raise _offline([one])
            archive = fetch_file(one.expected, lambda: _source(one))
        return archive if one.member is None else _unpack(archive, one.member)


def _source(one: Download) -> DownloadSource:
    if one.package:
        return package_address(one.package, one.expected.file)
    return DownloadSource(one.url)


def _unpack(archive: Path, member: Member) -> Path:
    with step(f"unpack {member.expected.file} ({member.expected.size / MIB:,.0f} MiB)"):
        try:
            with zipfile.ZipFile(archive) as opened, opened.open(member.path) as content:
                return install_file(member.expected, content, f"{archive.name}:{member.path}")
        except (KeyError, zipfile.BadZipFile) as error:
            raise HarnessError(
                f"{archive} has no readable member {member.path}",
                hint="its hash is the one in appliance/artifacts.yaml: correct `member` there",
            ) from error


def _offline(missing: Iterable[Download]) -> HarnessError:
    folder = downloads()
    files = "; ".join(
        f"{one.expected.file} ({one.expected.size} bytes, sha256 {one.expected.sha256}, from {one.origin})"
        for one in missing
    )
    return HarnessError(
        f"SLM_OFFLINE is set and these files are not in {folder}: {files}",
        hint=f"copy them into {folder}, or unset SLM_OFFLINE",
    )


def _download(name: str, entry: _Entry) -> Download:
    common: tuple[str, ...] = (
        "kind",
        "file",
        "version",
        "licence",
        "what",
        "flavors",
        "engines",
        "optional",
        "stage",
        "second_model",
    )
    kind = entry.get("kind", str)
    version = entry.get("version", str)
    if kind != "image":
        common = (*common, "size", "sha256", "member", "checksums")
    if kind == "package":
        entry.known_keys(*common, "registry", "package")
        if entry.get("registry", str) != "pypi":
            raise entry.wrong("registry", "must be pypi")
        if not _PACKAGE.fullmatch(entry.get("package", str)):
            raise entry.wrong("package", "must be PROJECT==VERSION")
    elif kind == "url":
        entry.known_keys(*common, "url")
        if not entry.get("url", str).startswith("https://"):
            raise entry.wrong("url", "must start with https://")
    elif kind == "image":
        entry.known_keys(*common, "image", "image_id")
        _check_image(entry, version)
    else:
        raise entry.wrong("kind", "must be package, url or image")
    inner = entry.entry("member") if "member" in entry.data else None
    if inner is not None:
        inner.known_keys("path", "file", "size", "sha256")
    return Download(
        name=name,
        version=version,
        licence=entry.get("licence", str),
        what=entry.get("what", str),
        flavors=entry.names("flavors"),
        expected=_expected(entry, version, unknown_may_be=kind != "package"),
        package=entry.get("package", str) if kind == "package" else "",
        url=entry.versioned("url", version) if kind == "url" else "",
        image=entry.versioned("image", version) if kind == "image" else "",
        image_id=_known(entry.get("image_id", str)) if kind == "image" else "",
        checksums=entry.get("checksums", str) if "checksums" in entry.data else "",
        engines=entry.names("engines") if "engines" in entry.data else (),
        optional=entry.data.get("optional", False) is True,
        member=Member(inner.get("path", str), _expected(inner)) if inner else None,
        stage=_stage(entry),
        second_model=entry.data.get("second_model", False) is True,
    )


UNKNOWN = "unknown"
"""What stands in artifacts.yaml in the place of a hash that nobody has vouched for."""


def _known(text: str) -> str:
    return "" if text == UNKNOWN else text.removeprefix("sha256:")


def _stage(entry: _Entry) -> str:
    if "stage" not in entry.data:
        return ""
    place = entry.get("stage", str)
    if not all(_FILE_NAME.fullmatch(part) for part in place.split("/")):
        raise entry.wrong("stage", "must be a path of plain names below artifacts/")
    return place


def _check_image(entry: _Entry, version: str) -> None:
    match = _IMAGE.fullmatch(entry.versioned("image", version))
    if match is None:
        raise entry.wrong("image", "must be REGISTRY/NAME:TAG")
    if version not in match["tag"]:
        raise entry.wrong("image", "must have the version in its tag: a tag that moves is no version")
    image_id = _known(entry.get("image_id", str))
    if image_id and not _SHA256.fullmatch(image_id):
        raise entry.wrong("image_id", f"must be sha256: and 64 lower-case hexadecimal digits, or {UNKNOWN}")


def _expected(entry: _Entry, version: str = "", *, unknown_may_be: bool = False) -> Expected:
    file = entry.versioned("file", version)
    if not _FILE_NAME.fullmatch(file):
        raise entry.wrong("file", "must be a plain file name")
    if entry.data.get("kind") == "image" or (
        unknown_may_be and entry.data.get("size") == entry.data.get("sha256") == UNKNOWN
    ):
        return Expected(file, 0, "")
    size, sha256 = entry.get("size", int), entry.get("sha256", str)
    if size <= 0:
        raise entry.wrong("size", "must be the number of bytes, more than 0")
    if not _SHA256.fullmatch(sha256):
        raise entry.wrong("sha256", "must be 64 lower-case hexadecimal digits")
    return Expected(file, size, sha256)


def _module(name: str, entry: _Entry) -> Module:
    entry.known_keys("module", "version", "minimum", "licence", "what")
    if not _MODULE_PATH.fullmatch(entry.get("module", str)):
        raise entry.wrong("module", "must be a Go module path")
    return Module(
        name,
        *(entry.get(key, str) for key in ("module", "version", "minimum", "licence")),
    )


def _system(entry: _Entry) -> System:
    entry.known_keys("distribution", "suite", "licence", "verified_by", "lists")
    lists = entry.entry("lists")
    return System(
        distribution=entry.get("distribution", str),
        suite=entry.get("suite", str),
        licence=entry.get("licence", str),
        lists={name: lists.names(name) for name in lists.data},
    )


def _refuse_twins(found: Iterable[Download]) -> None:
    seen: dict[str, str] = {}
    for one in found:
        places = {f"stage {one.stage}"} if one.stage else set()
        for place in {f"file name {one.expected.file}", f"file name {one.wanted.file}"} | places:
            if place in seen:
                raise HarnessError(f"artifacts.yaml: '{seen[place]}' and '{one.name}' share the {place}")
            seen[place] = one.name


@dataclass(frozen=True)
class _Entry:
    """A mapping of the file with its place in it, so that every complaint says where."""

    where: str
    data: Any

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict) or not all(isinstance(key, str) for key in self.data):
            raise HarnessError(f"{self.where}: must be a mapping of names")

    def wrong(self, key: str, problem: str) -> HarnessError:
        return HarnessError(f"{self.where}: {key} {problem}")

    def get(self, key: str, kind: type[_T]) -> _T:
        value = self.data.get(key)
        if type(value) is not kind or value == "":
            raise self.wrong(key, f"is missing or not {'a text' if kind is str else 'a whole number'}")
        return value

    def versioned(self, key: str, version: str) -> str:
        """The text with `{version}` filled in."""
        return self.get(key, str).replace("{version}", version)

    def entry(self, key: str) -> _Entry:
        return _Entry(f"{self.where}: {key}", self.data.get(key))

    def entries(self, key: str) -> list[tuple[str, _Entry]]:
        inner = self.entry(key)
        return [(name, inner.entry(name)) for name in inner.data]

    def names(self, key: str) -> tuple[str, ...]:
        values = self.data.get(key)
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "must be a list of names")
        return tuple(values)

    def known_keys(self, *known: str) -> None:
        unknown = sorted(set(self.data) - set(known))
        if unknown:
            raise self.wrong(unknown[0], f"is not known here; known: {', '.join(known)}")
