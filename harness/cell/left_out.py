"""Checks that are left out of a container's cell because their point is to wait: named, never silent.

A container is the inner loop; under QEMU, whose verdict counts, each of them runs, and where it is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from harness.results.model import Check

MARK = "slow"
SAID = "left out in a container: "
"""How the reason of a check that was left out begins."""


def unnamed(items: Iterable[pytest.Item], config: pytest.Config) -> list[pytest.Item]:
    """The checks that nobody asked for by name: by an expression, or by their file or node id."""
    if config.option.keyword:
        return []
    files = {Path(one.partition("::")[0]).resolve() for one in config.args}
    return [item for item in items if item.path.resolve() not in files]


def leave_out_slow(items: Iterable[pytest.Item]) -> None:
    """Skip each check marked `slow("why it takes its time")`. Raises pytest.UsageError for a mark without."""
    for item in items:
        mark = item.get_closest_marker(MARK)
        if mark is None:
            continue
        if not mark.args or not str(mark.args[0]).strip():
            raise pytest.UsageError(f'{item.nodeid}: the mark {MARK} needs a reason: {MARK}("waits for ...")')
        item.add_marker(pytest.mark.skip(reason=f"{SAID}{mark.args[0]}"))


def left_out_sentence(checks: Sequence[Check]) -> str:
    """How many checks were left out, and each reason once: for the verdict; "" when there were none."""
    reasons = [
        check.message.removeprefix(SAID)
        for check in checks
        if check.status == "skipped" and check.message.startswith(SAID)
    ]
    if not reasons:
        return ""
    return f"{len(reasons)} {SAID}{'; '.join(dict.fromkeys(reasons))}"
