"""The command lines that a report offers: run this cell again, run this check again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def make_command(target: str, variables: Mapping[str, str]) -> str:
    """`make TARGET NAME=value ...` for a POSIX shell; empty values are left out.

    A dollar sign is doubled, because make expands it once more than the shell does.
    """
    words = [f"{name}={shlex.quote(value.replace('$', '$$'))}" for name, value in variables.items() if value]
    return " ".join(["make", target, *words])


def rerun_check(cell_command: str, check_id: str) -> str:
    """The cell's command narrowed to one check; the harness's own checks only come with the whole cell."""
    if check_id.startswith("harness::"):
        return cell_command
    return f"{cell_command} TESTS={shlex.quote(check_id.replace('$', '$$'))}"
