"""Rounds of measurements: order, warm-up, failures, pairs."""

from __future__ import annotations

from collections.abc import Iterable

from harness.bench.wire import Failure
from suites.benchmark.campaign import Campaign, Point, Value, run_rounds


def ran(points: list[Point], rounds: int = 5, warm_up: int = 1) -> Campaign:
    return run_rounds(points, rounds=rounds, warm_up=warm_up, seed=3, tell=lambda _: None)


def counted(name: str, asked: list[str]) -> Point:
    def run(number: int) -> Iterable[Value]:
        asked.append(name)
        yield Value(name, "s", {"round": "any"}, (float(number),))

    return Point(name, run)


def test_each_point_has_its_turn_once_a_round_in_changing_order() -> None:
    asked: list[str] = []
    ran([counted(name, asked) for name in "abcdef"])
    rounds = [asked[at : at + 6] for at in range(0, len(asked), 6)]
    assert len(rounds) == 6
    assert all(sorted(one) == list("abcdef") for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_warm_up_leaves_no_values() -> None:
    campaign = ran([counted("a", [])], rounds=2, warm_up=2)
    assert campaign.samples("a", round="any") == [0.0, 1.0]


def test_a_failure_is_kept_by_itself_in_warm_up_too() -> None:
    def run(number: int) -> Iterable[Value | Failure]:
        yield Failure("timeout", f"round {number}")

    campaign = ran([Point("broken", run)], rounds=1)
    assert campaign.failures == ["broken: timeout: round -1", "broken: timeout: round 0"]
    assert not list(campaign.series())


def test_pairs_are_of_rounds_that_have_both() -> None:
    def gappy(number: int) -> Iterable[Value]:
        if number != 1:
            yield Value("b", "s", {}, (10.0 * number,))

    def whole(number: int) -> Iterable[Value]:
        yield Value("a", "s", {}, (float(number),))

    campaign = ran([Point("a", whole), Point("b", gappy)], rounds=3)
    assert campaign.pairs(("a", {}), ("b", {})) == ([0.0, 2.0], [0.0, 20.0])
