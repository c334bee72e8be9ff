"""Which checks can be made of an appliance that is reached by its address alone.

A check that needs the guest says so by what it asks for, itself or through its fixtures: the machine, what
the cell was booted with, guests of its own. At an endpoint it isn't collected, and how many were not is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.machine.endpoint import Endpoint


GUEST = frozenset({"machine", "cell", "open_guest", "ready_deadline"})
"""Fixtures an endpoint can't serve. All others that need one of these have it among their own."""

PORT_80 = "port_80"


def needs_the_guest(fixtures: Iterable[str]) -> bool:
    """Whether a check with these fixtures, those of its fixtures included, needs more than an address."""
    return not GUEST.isdisjoint(fixtures)


def black_box_only(config: pytest.Config, items: list[pytest.Item], endpoint: Endpoint) -> str:
    """Leave in `items` what can be checked from outside; returns the sentence about the rest.

    What is known not to hold with the engine of our images may hold with another one: at an endpoint it is no
    fault when it does.
    """
    inside = [item for item in items if needs_the_guest(_fixtures(item))]
    shut = [] if endpoint.address.http_url else [one for one in items if PORT_80 in _fixtures(one)]
    shut = [item for item in shut if item not in inside]
    if inside or shut:
        config.hook.pytest_deselected(items=[*inside, *shut])
        items[:] = [item for item in items if item not in inside and item not in shut]
    for item in items:
        item.own_markers[:] = [_lenient(mark) for mark in item.own_markers]
    sentences = []
    if inside:
        sentences.append(f"{len(inside)} need the guest itself and were left out")
    if shut:
        sentences.append(f"{len(shut)} ask port 80, which isn't known beside port {endpoint.address.port}")
    return "; ".join(sentences)


def _fixtures(item: pytest.Item) -> list[str]:
    return list(getattr(item, "fixturenames", ()))


def _lenient(mark: pytest.Mark) -> pytest.Mark:
    if mark.name != "xfail":
        return mark
    lenient: pytest.Mark = pytest.mark.xfail(*mark.args, **{**mark.kwargs, "strict": False}).mark
    return lenient
