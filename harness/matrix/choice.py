"""From the names a person typed to suites: those of cells.yaml, or any folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError
from harness.matrix.suites import SUITES_FOLDER, Share, Suite

ALL = "all"
"""Every suite of cells.yaml, whole, but for those that want to be named."""


def chosen_suites(names: Sequence[str], known: Mapping[str, Suite]) -> tuple[Suite, ...]:
    """The suites of these names, in this order; `all` is what cells.yaml knows, () what of that a run has by
    default.

    A folder that cells.yaml doesn't know (by its path, or a new one in suites/) runs whole in the cell of
    every TLS mode, on the machine asked for. Raises HarnessError for anything else.
    """
    if tuple(names) == (ALL,):
        return tuple(suite for suite in known.values() if not suite.named_only)
    if not names:
        by_default = (one for one in known.values() if one.whole.by_default and not one.named_only)
        return tuple(_by_default(suite) for suite in by_default)
    return tuple(_suite(name, known) for name in names)


def not_by_default(known: Mapping[str, Suite]) -> list[str]:
    """What only a run of `all`, or one that names the suite, has."""
    known = {name: suite for name, suite in known.items() if not suite.named_only}
    left = [name for name, suite in known.items() if not suite.whole.by_default]
    return left + [
        f"{name} on a virtual machine"
        for name, suite in known.items()
        if name not in left and suite.on_vm is not None and not suite.on_vm.by_default
    ]


def _by_default(suite: Suite) -> Suite:
    if suite.on_vm is None or suite.on_vm.by_default:
        return suite
    return replace(suite, on_vm=None)


def _suite(name: str, known: Mapping[str, Suite]) -> Suite:
    if name in known:
        return known[name]
    folder = Path(name) if "/" in name else SUITES_FOLDER / name
    if not folder.is_dir() or folder.name.startswith((".", "_")):
        raise HarnessError(
            f"no suite {name!r}", hint=f"accepted are all, {', '.join(known)}, or the path of a folder"
        )
    # Nobody has said how many checks it has to have: one executed check in the cell is enough.
    return Suite(name=folder.resolve().name, folder=folder.resolve(), whole=Share(minimum=0))
