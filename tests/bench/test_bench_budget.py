"""What of the benchmark's plan fits into its time, and how its file is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import Timetable, running_engine

from harness.bench.prompts import Prompt
from harness.errors import HarnessError
from suites.benchmark.budget import NO_BENCH, SILENT_CACHE, Budget, Pace, choose, without_what_lacks
from suites.benchmark.campaign import Value
from suites.benchmark.plan import FILE, Bound, load_plan
from suites.benchmark.requests import InTurn, Way, decode_pairs_point

QUICK = Pace(token_s=0.003, slower_s=6e-7, answer_s=0.6)
"""SmolLM2-135M on two cores."""


def chosen(pace: Pace, context: int = 8192, **changes: object) -> Budget:
    return choose(replace(load_plan(), **changes), context, pace)  # type: ignore[arg-type]


def test_a_long_prompt_takes_more_than_its_share() -> None:
    assert Pace(0.003, 0.0, 0.0).read_s(1000) == pytest.approx(3.0)
    assert QUICK.read_s(4096) == pytest.approx(22.35, abs=0.01)


def test_a_small_model_has_time_for_all_that_its_context_holds() -> None:
    budget = chosen(QUICK)
    assert budget.prompt_tokens == (128, 512, 2048, 4096)
    assert budget.session_tokens == load_plan().sessions["context_tokens"]
    assert budget.left_out == ("prompts of 8192 tokens: the context has 8192",)


def test_without_time_the_sessions_go_first_and_then_the_longest_prompts() -> None:
    whole = chosen(QUICK, budget_s=10_000)
    hasty = chosen(QUICK, budget_s=330)
    assert whole.session_tokens
    assert hasty.session_tokens == 0
    assert hasty.prompt_tokens == (128, 512, 2048)
    assert [line.split(":")[0] for line in hasty.left_out] == [
        "prompts of 8192 tokens",
        "agents' sessions",
        "prompts of 4096 tokens",
    ]


def test_the_shortest_prompt_stays_however_slow_the_model_is() -> None:
    assert chosen(Pace(0.15, 0.0, 20.0)).prompt_tokens == (128,)


def test_sessions_that_the_context_has_no_room_for_are_left_out() -> None:
    budget = chosen(QUICK, context=2048)
    assert budget.session_tokens == 0
    assert "agents' sessions of 2560 tokens: the context has 2048" in budget.left_out


def test_what_an_engine_does_not_tell_or_bring_is_left_out_with_a_reason() -> None:
    whole = chosen(QUICK)
    assert without_what_lacks(whole, tells_cache=True, own_bench=True) == whole
    lacking = without_what_lacks(whole, tells_cache=False, own_bench=False)
    assert (lacking.session_tokens, lacking.own_bench) == (0, False)
    assert lacking.left_out == (*whole.left_out, SILENT_CACHE, NO_BENCH)
    hasty = chosen(QUICK, budget_s=330)
    assert without_what_lacks(hasty, tells_cache=False, own_bench=True) == hasty  # left out already


def test_without_a_benchmark_of_its_own_none_is_asked_for() -> None:
    """Nor are the answers that would be compared with it."""
    with running_engine(Timetable(ttft_s=0.001, itl_s=0.001, events=4)) as engine:
        ways = (Way("appliance", engine.target(), "small"), Way("engine", engine.target(), "small"))
        prompt = Prompt(({"role": "user", "content": "say it"},))
        point = decode_pairs_point(ways, None, prompt, InTurn(seconds=0, pairs=1, tokens=4, plain_tokens=4))
        values = list(point.run(0))
    assert [(one.name, one.labels["path"]) for one in values if isinstance(one, Value)] == [
        ("paired_decode_speed", "appliance"),
        ("paired_decode_speed", "engine"),
    ]
    assert len(values) == 2, values


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("rounds: 5", "rounds: 4", "rounds"),
        ("engine_prompt_tokens: [128, 512]", "engine_prompt_tokens: [100]", "not among prompt_tokens"),
        ("prompt_tokens: [128, 512, 2048, 4096, 8192]", "prompt_tokens: []", "prompt_tokens"),
        ("{ at_least: 0.98 }", "{ at_least: 0.98, at_most: 1 }", "one of at_least and at_most"),
        ("context_tokens: 2560", "context_tokens: 1024", "no room for an agent's session of 4 turns"),
        ("turns: 4", "turns: 40", "turns"),
        ("seed: 20260401", "seed: 20260401\nsede: 1", "sede"),
    ],
)
def test_a_mistake_in_the_plan_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "plan.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(HarnessError, match=told):
        load_plan(path)


def test_targets_are_read_as_bounds() -> None:
    assert load_plan().targets["added_ttft"] == Bound(at_most=0.005)
