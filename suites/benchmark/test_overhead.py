"""What Nginx, TLS and the engine's own HTTP cost beside the computing."""

from __future__ import annotations

import pytest

from harness.bench.statistics import PAIRED_FORMULA, UNPAIRED_FORMULA, ratio_interval
from suites.benchmark.budget import NO_BENCH
from suites.benchmark.conftest import APPLIANCE, ENGINE, Measured
from suites.benchmark.plan import BenchPlan
from suites.benchmark.recording import Recorder


def test_the_appliance_adds_milliseconds_to_the_first_token(
    measured: Measured, ratios: Recorder, plan: BenchPlan
) -> None:
    through = measured.campaign.rounds_of("small_ttft", path=APPLIANCE)
    direct = measured.campaign.rounds_of("small_ttft", path=ENGINE)
    added = [
        one - other
        for number in sorted(through)
        for one, other in zip(through[number], direct[number], strict=True)
    ]
    judged = ratios.median(
        "added_ttft", "s", added,
        labels={"path": f"{APPLIANCE}-{ENGINE}", "statistic": "p50"}, better="lower",
        formula="ttft through the appliance - ttft at the engine's port, of pairs of tiny requests",
        bound=plan.targets["added_ttft"],
    )  # fmt: skip
    assert judged.verdict != "FAIL", judged.reason


@pytest.mark.parametrize(
    ("name", "above", "below", "clock"),
    [
        ("paired_decode_speed", APPLIANCE, ENGINE, "client"),
        ("plain_decode_speed", ENGINE, "llama-bench", "server"),
    ],
    ids=["the engine without Nginx and TLS", "llama-bench"],
)
def test_decoding_is_as_fast_as_by(
    name: str, above: str, below: str, clock: str, measured: Measured, ratios: Recorder, plan: BenchPlan
) -> None:
    """The same prompt, in turn; llama-bench against the engine's own clock and answers that aren't streamed:
    see harness/bench/plain_answer.py."""
    if below == "llama-bench" and not measured.budget.own_bench:
        pytest.skip(f"left out: {NO_BENCH}")
    one, other = (measured.campaign.all_values(name, path=path, clock=clock) for path in (above, below))
    interval = ratio_interval(one, other, paired=True, seed=plan.seed)
    judged = ratios.interval(
        "decode_ratio", "ratio", interval, [high / low for high, low in zip(one, other, strict=True)],
        labels={"path": f"{above}/{below}", "clock": clock}, better="higher", formula=PAIRED_FORMULA,
        bound=plan.targets[f"decode_ratio_{above}"],
    )  # fmt: skip
    assert judged.verdict != "FAIL", judged.reason


def test_reading_prompts_is_compared_with_llama_bench(
    measured: Measured, ratios: Recorder, plan: BenchPlan
) -> None:
    size = plan.llama_bench["prefill_tokens"]
    if not measured.budget.own_bench:
        pytest.skip(f"left out: {NO_BENCH}")
    if size not in measured.budget.prompt_tokens:
        pytest.skip("; ".join(measured.budget.left_out))
    labels = {"path": ENGINE, "prompt_tokens": size, "state": "cold", "clients": 1, "clock": "server"}
    above = measured.campaign.samples("prefill_speed", **labels)
    below = measured.campaign.samples("prefill_speed", path="llama-bench", prompt_tokens=size, depth=0)
    interval = ratio_interval(above, below, paired=False, seed=plan.seed)
    ratios.interval(
        "prefill_ratio", "ratio", interval, [],
        labels={"path": f"{ENGINE}/llama-bench", "prompt_tokens": size}, better="higher",
        formula=UNPAIRED_FORMULA,
    )  # fmt: skip
    assert interval.n >= plan.rounds, f"{interval.n} of {plan.rounds} rounds"
