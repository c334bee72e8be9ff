"""TESTS=...: which checks of a cell a person wants."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import REPOSITORY
from harness.matrix.plan import PlannedCell


@dataclass(frozen=True)
class Selection:
    """What pytest is told to run in a cell: folders, files or node ids, and its -k expression. No targets:
    nothing of this cell is wanted."""

    targets: tuple[str, ...]
    expression: str = ""


def select(cell: PlannedCell, wanted: str) -> Selection:
    """What of the cell is wanted. `wanted` is "" for all, a -k expression, or files and node ids
    (`suites/conformance/test_auth.py::test_x`), of which a cell runs those of its suites.

    Raises HarnessError when a quote in it isn't closed.
    """
    everything = tuple(target for one in cell.suites for target in one.targets)
    if not names_files(wanted):
        return Selection(everything, wanted)
    return Selection(_nodes_in(wanted, [one.suite.folder for one in cell.suites]))


def select_of(wanted: str, folders: Sequence[Path]) -> Selection:
    """What of these suites' folders is wanted. Raises HarnessError when that is nothing, and as `select`
    does."""
    if not names_files(wanted):
        return Selection(tuple(str(folder) for folder in folders), wanted)
    targets = _nodes_in(wanted, folders)
    if not targets:
        names = ", ".join(folder.name for folder in folders)
        raise HarnessError(f"TESTS={wanted} names no check of {names}")
    return Selection(targets)


def _nodes_in(wanted: str, folders: Sequence[Path]) -> tuple[str, ...]:
    try:
        nodes = shlex.split(wanted)
    except ValueError as error:
        raise HarnessError(f"TESTS={wanted} can't be split into node ids: {error}") from None
    return tuple(node for node in nodes if any(_file(node).is_relative_to(folder) for folder in folders))


def names_files(wanted: str) -> bool:
    """True for node ids and paths, False for a -k expression."""
    return ".py" in wanted or "::" in wanted


def _file(node: str) -> Path:
    return (REPOSITORY / node.partition("::")[0]).resolve()
