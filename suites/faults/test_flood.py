"""Guessing passwords at full speed costs the guesser, not those who know the password."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import httpx
import pytest

from harness.client.https import ApplianceAddress
from suites.conformance.ask import CHAT, chat, expect_json
from suites.faults.refused_flood import Flood, lasting_flood

ASKED = 15
SLOWER_AT_MOST = 10.0
"""Times, of the median light request."""
UNNOTICED_S = 0.1
"""Below this nobody notices, however quick the quiet appliance is. Stretched for slow accelerators."""


def median_s(ask: Callable[[], httpx.Response], times: int = ASKED) -> float:
    """Seconds of the median request."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        expect_json(ask())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


@pytest.fixture(scope="module")
def medians(
    appliance: ApplianceAddress, client: httpx.Client
) -> tuple[dict[str, float], dict[str, float], Flood]:
    """Seconds of a light request and of a short answer, without the flood and during it."""
    kinds: dict[str, tuple[Callable[[], httpx.Response], int]] = {
        "light": (lambda: client.get("/v1/models"), ASKED),
        "answer": (lambda: client.post(CHAT, json=chat(max_tokens=1)), 5),
    }
    client.post(CHAT, json=chat(max_tokens=1))
    quiet = {kind: median_s(*how) for kind, how in kinds.items()}
    with lasting_flood(appliance) as flood:
        flooded = {kind: median_s(*how) for kind, how in kinds.items()}
    return quiet, flooded, flood


@pytest.mark.parametrize("kind", ["light", "answer"])
def test_a_flood_of_wrong_passwords_does_not_slow_the_right_one(
    kind: str,
    medians: tuple[dict[str, float], dict[str, float], Flood],
    stretch: float,
    record_metric: Callable[..., None],
) -> None:
    quiet, flooded, flood = medians
    ratio = flooded[kind] / quiet[kind]
    record_metric(f"flood_ratio_{kind}", "times", ratio, n=ASKED)
    record_metric("flood_refused", "requests", flood.refused, n=1)
    assert flood.refused > 1000, "this was no flood"
    assert ratio <= SLOWER_AT_MOST or flooded[kind] <= UNNOTICED_S * stretch, (
        f"{quiet[kind] * 1000:.0f} ms without the flood, {flooded[kind] * 1000:.0f} ms during it"
    )


def test_every_wrong_password_was_refused(
    medians: tuple[dict[str, float], dict[str, float], Flood],
) -> None:
    assert medians[2].strange == ""


def test_nobody_is_locked_out_afterwards(
    medians: tuple[dict[str, float], dict[str, float], Flood], client: httpx.Client
) -> None:
    """A team behind one address shares it with whoever guesses there."""
    assert medians[2].refused
    expect_json(client.get("/v1/models"))
