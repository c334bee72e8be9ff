"""suites/cells.yaml: what each suite wants, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.cell.options import TLS_MODES
from harness.locations import REPOSITORY
from harness.strict_yaml import Reader, read_yaml

SUITES_FOLDER = REPOSITORY / "suites"
CELLS_FILE = SUITES_FOLDER / "cells.yaml"

CELLS = ("tls", "own")
MACHINES = ("asked", "quick", "both")


@dataclass(frozen=True)
class Share:
    """The part of a suite that runs in one kind of cell: `checks` are files of the suite, or
    `file.py::function`, () for all of them; `minimum` of them must be executed for a PASS; `seconds` is about
    what they take beside the boot (under TCG, natively for what runs on the quick machine); `cores` is how
    many of the host's they keep busy, None for as many as the profile has vCPUs; `by_default` is whether a
    run has it that names no suites; `boots_alone` is whether it judges how long the boot takes, so that
    nothing else of the run may begin meanwhile."""

    minimum: int = 1
    seconds: int = 60
    cores: float | None = None
    by_default: bool = True
    boots_alone: bool = False
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """One suite: the words are those at the head of suites/cells.yaml."""

    name: str
    folder: Path
    cell: str = "tls"
    tls_modes: tuple[str, ...] = TLS_MODES
    machine: str = "asked"
    whole: Share = field(default_factory=Share)
    later_modes: Share | None = None
    on_vm: Share | None = None
    named_only: bool = False


def load_suites(path: Path = CELLS_FILE) -> dict[str, Suite]:
    """The suites of a run by name, in the order of the file.

    Raises HarnessError naming the file, the suite, the key, its problem and what is accepted.
    """
    reader = Reader(path)
    top = reader.mapping(read_yaml(path), "the file", required={"suites"})
    entries = top["suites"]
    if not isinstance(entries, dict) or not entries:
        reader.fail(
            "suites", "must be a mapping from a folder of suites/ to what it wants, with one at least"
        )
    return {str(name): _suite(reader, name, entry) for name, entry in entries.items()}


def _suite(reader: Reader, name: object, entry: object) -> Suite:
    where = f"suite {name}"
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or name in TLS_MODES:
        reader.fail(where, "the name must be that of a Python folder in lower case, and of no TLS mode")
    folder = reader.path.parent / name
    if not folder.is_dir():
        reader.fail(where, f"there is no folder {folder}")
    fields = reader.mapping(
        entry,
        where,
        required={"cell", "tls_modes", "machine", "minimum", "seconds"},
        optional={"boots_alone", "cores", "default", "named_only", "later_modes", "on_vm"},
    )
    machine = _one_of(reader, fields["machine"], f"{where}, machine", MACHINES)
    if (machine == "both") != ("on_vm" in fields):
        reader.fail(where, "on_vm belongs to machine: both, and to no other")
    return Suite(
        name=name,
        folder=folder,
        cell=_one_of(reader, fields["cell"], f"{where}, cell", CELLS),
        tls_modes=_tls_modes(reader, fields["tls_modes"], f"{where}, tls_modes"),
        machine=machine,
        whole=_share(reader, fields, where, folder),
        later_modes=_inner_share(reader, fields, "later_modes", where, folder),
        on_vm=_inner_share(reader, fields, "on_vm", where, folder),
        named_only=_yes_or_no(reader, fields.get("named_only", False), f"{where}, named_only"),
    )


def _inner_share(reader: Reader, fields: Any, key: str, where: str, folder: Path) -> Share | None:
    if key not in fields:
        return None
    inside = f"{where}, {key}"
    optional = {"checks", "cores", "default"}
    inner = reader.mapping(fields[key], inside, required={"minimum", "seconds"}, optional=optional)
    return _share(reader, inner, inside, folder)


def _share(reader: Reader, fields: Any, where: str, folder: Path) -> Share:
    checks = fields.get("checks", [])
    if not isinstance(checks, list) or not all(isinstance(one, str) for one in checks):
        reader.fail(f"{where}, checks", "must be a list of test_file.py or test_file.py::function")
    for one in checks:
        _require_check(reader, one, f"{where}, checks", folder)
    return Share(
        minimum=reader.integer(fields, "minimum", where, low=1, high=100_000),
        seconds=reader.integer(fields, "seconds", where, low=1, high=86_400),
        cores=reader.number(fields, "cores", where, low=0.1, high=1024) if "cores" in fields else None,
        by_default=_yes_or_no(reader, fields.get("default", True), f"{where}, default"),
        boots_alone=_yes_or_no(reader, fields.get("boots_alone", False), f"{where}, boots_alone"),
        checks=tuple(checks),
    )


def _yes_or_no(reader: Reader, value: object, where: str) -> bool:
    if not isinstance(value, bool):
        reader.fail(where, f"must be true or false, not {value!r}")
    return value


def _require_check(reader: Reader, check: str, where: str, folder: Path) -> None:
    """A file or a function that was renamed must be told here, not by a cell that could not start."""
    name, _, function = check.partition("::")
    file = folder / name
    if not file.is_file():
        reader.fail(where, f"{check}: there is no file {file}")
    if function and not re.search(rf"^def {re.escape(function)}\(", file.read_text(encoding="utf-8"), re.M):
        reader.fail(where, f"{check}: {file} has no function {function}")


def _tls_modes(reader: Reader, value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        reader.fail(where, f"must be a list of TLS modes out of {', '.join(TLS_MODES)}")
    return tuple(_one_of(reader, one, where, TLS_MODES) for one in value)


def _one_of(reader: Reader, value: object, where: str, accepted: tuple[str, ...]) -> str:
    if value not in accepted:
        reader.fail(where, f"must be one of {', '.join(accepted)}, not {value!r}")
    return str(value)
