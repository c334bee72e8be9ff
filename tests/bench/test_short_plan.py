"""The short benchmark at an endpoint asks what fits into its time, and leaves out what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from harness.bench.wire import Failure
from harness.errors import HarnessError
from suites.acceptance.conftest import Accepted, Refusals, is_near
from suites.acceptance.short_plan import FILE, Fitting, fit, load_short_plan
from suites.benchmark.campaign import Campaign, Point, Value

PLAN = load_short_plan()


def test_a_quick_appliance_is_asked_everything() -> None:
    assert fit(PLAN, read_s=0.001, token_s=0.01) == Fitting(PLAN.prompt_tokens, ())


def test_the_longest_prompts_go_first_where_reading_takes_its_time() -> None:
    found = fit(PLAN, read_s=0.06, token_s=0.06)
    assert found.prompt_tokens == PLAN.prompt_tokens[:-1]
    assert found.left_out[0].startswith(f"prompts of {PLAN.prompt_tokens[-1]} tokens: with them about ")


def test_the_shortest_prompt_stays_however_slow_it_is() -> None:
    assert fit(PLAN, read_s=10, token_s=10).prompt_tokens == PLAN.prompt_tokens[:1]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("rounds: 5", "rounds: 4", "rounds"),
        ("prompt_tokens: [64, 256, 1024]", "prompt_tokens: 64", "prompt_tokens"),
        ("at_most: 0.5", "at_last: 0.5", "warm_ttft_ratio"),
        ("only_inside:\n", "only_inside: []\nother:\n", "other"),
        ("  - the engine's own benchmark", "  - 7", "only_inside"),
        ("network_share: 0.05", "network_share: 5", "network_share"),
    ],
)
def test_a_slip_in_the_plan_is_named(tmp_path: Path, before: str, after: str, told: str) -> None:
    text = FILE.read_text()
    assert before in text
    (tmp_path / "plan.yaml").write_text(text.replace(before, after))
    with pytest.raises(HarnessError, match=told):
        load_short_plan(tmp_path / "plan.yaml")


def test_a_prompt_the_context_is_too_small_for_is_no_failure() -> None:
    """It is asked once; every other failure stays one."""
    asked: list[int] = []

    def run(number: int) -> Iterable[Value | Failure]:
        asked.append(number)
        yield Failure("status", "too long", status=400) if number else Failure("timeout", "late")

    refusals = Refusals()
    point = refusals.watched(Point("x", run), 1024)
    assert [one.kind for one in point.run(0) if isinstance(one, Failure)] == ["timeout"]
    assert list(point.run(1)) == []
    assert list(point.run(2)) == []
    assert (asked, refusals.sizes) == ([0, 1], [1024])
    left = Accepted(Campaign(), Fitting((64, 1024), ("a",)), (1024,), (0.1,), (0.1,))
    assert left.prompt_tokens == (64,)
    assert left.left_out == ("a", "prompts of 1024 tokens: the appliance refuses them")


def test_a_long_way_hides_what_the_cache_saves() -> None:
    near = Accepted(Campaign(), Fitting((64,), ()), (), (0.001, 0.002, 0.9), (0.1,))
    assert is_near(near, [0.1, 0.1], PLAN.network_share)
    assert not is_near(near, [0.03], PLAN.network_share)
