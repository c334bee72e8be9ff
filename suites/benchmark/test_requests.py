"""Speeds and latencies as a client gets them."""

from __future__ import annotations

import pytest

from harness.bench.statistics import PAIRED_FORMULA, median_interval, ratio_interval
from harness.bench.timeline import FORMULAS
from harness.bench.verdict import judge_sizing
from harness.machine.limits_read_back import ReadBack
from harness.machine.protocol import Machine
from harness.profiles import Profile
from suites.benchmark.conftest import APPLIANCE, Measured
from suites.benchmark.plan import BenchPlan
from suites.benchmark.recording import MEASURED_ONLY, Recorder

HIGHER = ("decode_speed", "prefill_speed", "load_speed", "cache_share", "cache_kept")
MANY = ("itl",)
"""Series with many values a round: of them the percentiles are told."""


def test_every_request_is_answered(measured: Measured) -> None:
    assert not measured.campaign.failures, (
        f"{len(measured.campaign.failures)}: {measured.campaign.failures[:5]}"
    )


def test_every_series_is_recorded_with_its_interval(
    measured: Measured, values: Recorder, plan: BenchPlan
) -> None:
    short = []
    for name, unit, labels, rounds in measured.campaign.series():
        if name in ("small_ttft", "paired_decode_speed", "plain_decode_speed"):
            continue  # it is there for the pairs of test_overhead.py
        if len(rounds) < plan.rounds:
            short.append(f"{name} {labels}: {len(rounds)} of {plan.rounds} rounds")
        each = [row for _, row in sorted(rounds.items())]
        if name in MANY or any(len(row) > 1 for row in each):
            values.percentiles(name, unit, each, labels=labels, formula=FORMULAS.get(name, ""))
            values.all_of(name, unit, each, labels=labels, formula=FORMULAS.get(name, ""))
        else:
            values.median(
                name, unit, [row[0] for row in each],
                labels=labels, better="higher" if name in HIGHER else "lower", formula=FORMULAS.get(name, ""),
            )  # fmt: skip
    assert not short, f"not measured in every round: {short}"


@pytest.mark.parametrize("name", ["ttft", "tpot"])
def test_percentiles_over_all_requests_are_recorded(name: str, measured: Measured, values: Recorder) -> None:
    """Of requests of one kind there are few: over all lengths there are enough for a tail."""
    for state in ("cold", "warm"):
        rounds: dict[int, list[float]] = {}
        for size in measured.budget.prompt_tokens:
            labels = {"path": APPLIANCE, "prompt_tokens": size, "state": state, "clients": 1}
            for number, row in measured.campaign.rounds_of(name, **labels).items():
                rounds.setdefault(number, []).extend(row)
        assert rounds, f"no {name} of {state} prompts"
        values.percentiles(
            name, "s", list(rounds.values()),
            labels={"path": APPLIANCE, "state": state, "prompt_tokens": "all"}, formula=FORMULAS[name],
        )  # fmt: skip


def test_decoding_reaches_what_the_profile_promises(
    measured: Measured,
    values: Recorder,
    profile: Profile,
    enforced: ReadBack,
    machine: Machine,
    plan: BenchPlan,
    image_model: str,
) -> None:
    labels = {
        "path": APPLIANCE,
        "prompt_tokens": min(measured.budget.prompt_tokens),
        "state": "cold",
        "clients": 1,
    }
    samples = measured.campaign.samples("decode_speed", **labels, clock="client")
    interval = median_interval(samples, seed=plan.seed)
    judged = judge_sizing(
        interval, profile, measured.conditions,
        accelerator=machine.accelerator, model=[image_model], doubts=(*enforced.lacks, *enforced.doubts),
    )  # fmt: skip
    values.record(
        "sizing_decode_speed", "tok/s", interval.value,
        n=interval.n, ci_low=interval.low, ci_high=interval.high,
        target=profile.targets.decode_min if profile.targets else None,
        verdict=judged.verdict if judged else "INCONCLUSIVE",
        reason=judged.reason if judged else f"profile {profile.name} promises no speed: {MEASURED_ONLY}",
        labels=labels, samples=samples, better="higher", formula=FORMULAS["decode_speed"],
    )  # fmt: skip
    assert judged is None or judged.verdict != "FAIL", judged.reason


def test_a_warm_second_turn_starts_in_a_fraction_of_a_cold_one(
    measured: Measured, ratios: Recorder, plan: BenchPlan
) -> None:
    for size in measured.budget.prompt_tokens:
        labels = {"path": APPLIANCE, "prompt_tokens": size, "clients": 1}
        warm, cold = measured.campaign.pairs(
            ("ttft", {**labels, "state": "warm"}), ("ttft", {**labels, "state": "cold"})
        )
        interval = ratio_interval(warm, cold, paired=True, seed=plan.seed)
        judged = ratios.interval(
            "warm_ttft_ratio", "ratio", interval,
            [one / other for one, other in zip(warm, cold, strict=True)],
            labels=labels, better="lower", formula=PAIRED_FORMULA,
            bound=plan.targets["warm_ttft_ratio"] if size == 4096 else None,
        )  # fmt: skip
        assert judged.verdict != "FAIL", f"{size} tokens: {judged.reason}"


def test_two_agents_that_alternate_keep_their_prefixes(
    measured: Measured, ratios: Recorder, plan: BenchPlan
) -> None:
    if not measured.budget.session_tokens:
        pytest.skip("; ".join(measured.budget.left_out))
    samples = measured.campaign.samples("cache_kept", path=APPLIANCE, clients=2)
    judged = ratios.median(
        "cache_kept_least", "share", samples,
        labels={"path": APPLIANCE, "clients": 2}, better="higher", bound=plan.targets["cache_kept"],
        formula="tokens from the cache / tokens of the turn before; the least of all turns of a session",
    )  # fmt: skip
    assert judged.verdict != "FAIL", judged.reason
