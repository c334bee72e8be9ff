"""What Nginx, TLS and llama-server's own HTTP cost beside the computing."""

from __future__ import annotations

from harness.bench.statistics import PAIRED_FORMULA, UNPAIRED_FORMULA, ratio_interval
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


def test_llama_server_decodes_as_fast_as_llama_bench(
    measured: Measured, ratios: Recorder, plan: BenchPlan
) -> None:
    """By the engine's clock, at the same depth, in the same rounds."""
    depth = min(plan.engine_prompt_tokens)
    labels = {"path": ENGINE, "prompt_tokens": depth, "state": "cold", "clients": 1, "clock": "server"}
    above, below = measured.campaign.pairs(
        ("decode_speed", labels), ("decode_speed", {"path": "llama-bench", "depth": depth})
    )
    interval = ratio_interval(above, below, paired=True, seed=plan.seed)
    judged = ratios.interval(
        "decode_ratio", "ratio", interval, [one / other for one, other in zip(above, below, strict=True)],
        labels={"path": f"{ENGINE}/llama-bench", "depth": depth}, better="higher", formula=PAIRED_FORMULA,
        bound=plan.targets["decode_ratio_engine"],
    )  # fmt: skip
    assert judged.verdict != "FAIL", judged.reason


def test_reading_prompts_is_compared_with_llama_bench(
    measured: Measured, ratios: Recorder, plan: BenchPlan
) -> None:
    size = plan.llama_bench["prefill_tokens"]
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
