"""From the names a person typed to suites: those of cells.yaml, or any folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.matrix.suites import SUITES_FOLDER, Share, Suite


def chosen_suites(names: Sequence[str], known: Mapping[str, Suite]) -> tuple[Suite, ...]:
    """The suites of these names, in this order; () is all that cells.yaml knows.

    A folder that cells.yaml doesn't know (by its path, or a new one in suites/) runs whole in the cell of
    every TLS mode, on the machine asked for. Raises HarnessError for anything else.
    """
    return tuple(_suite(name, known) for name in (names or known))


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
