"""Settings that the appliance did not choose, measured beside those that it did."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.bench.engine_bench import EngineTest
from harness.bench.statistics import PAIRED_FORMULA, median, ratio_interval
from harness.machine.protocol import Machine
from harness.terminal import say
from suites.benchmark.campaign import Campaign, Point, run_rounds
from suites.benchmark.engine_tests import bench_point
from suites.benchmark.plan import BenchPlan
from suites.benchmark.recording import Recorder

KINDS = ("decode", "prefill")


def thread_counts(cpus: int) -> list[int]:
    """1, 2, 4 and so on, three quarters, and all."""
    doubled = {2**power for power in range(cpus.bit_length()) if 2**power <= cpus}
    return sorted(doubled | {max(1, cpus * 3 // 4), cpus})


@pytest.fixture(scope="module")
def counts(machine: Machine) -> list[int]:
    return thread_counts(int(machine.run("nproc").stdout))


@pytest.fixture(scope="module")
def sweep(machine: Machine, plan: BenchPlan, counts: list[int]) -> Campaign:
    """Threads, KV types and flash attention, in rounds of their own."""
    wanted = plan.sweep
    tokens = {"decode": wanted["decode_tokens"], "prefill": wanted["prefill_tokens"]}
    points: list[Point] = [
        bench_point(machine, EngineTest(kind, tokens[kind], threads=threads), sweep="threads")
        for kind in KINDS
        for threads in (None, *counts)
    ]  # type: ignore[arg-type]
    for cache_type in wanted["cache_types"]:
        for flash in wanted["flash_attention"]:
            if cache_type != "f16" and not flash:
                continue  # the engine refuses quantized values without flash attention
            test = EngineTest(
                "decode", tokens["decode"], depth=wanted["cache_depth"],
                kv_k=cache_type, kv_v=cache_type, flash_attention="on" if flash else "off",
            )  # fmt: skip
            labels = {"sweep": "cache", "kv": cache_type, "flash_attention": test.flash_attention}
            points.append(bench_point(machine, test, **labels))
    return run_rounds(
        points,
        rounds=wanted["rounds"],
        warm_up=1,
        seed=plan.seed + 2,
        tell=lambda line: say(f"  sweep, {line}", "dim"),
    )


def test_every_setting_is_measured(sweep: Campaign, plan: BenchPlan) -> None:
    assert not sweep.failures, sweep.failures[:5]
    assert all(len(rounds) == plan.sweep["rounds"] for _, _, _, rounds in sweep.series())


def test_every_setting_is_recorded(sweep: Campaign, values: Recorder) -> None:
    for name, unit, labels, rounds in sweep.series():
        values.median(
            name, unit, [row[0] for _, row in sorted(rounds.items())], labels=labels, better="higher"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_threads_are_as_good_as_the_best(
    kind: str, sweep: Campaign, ratios: Recorder, plan: BenchPlan, counts: list[int]
) -> None:
    tokens = {"prompt_tokens": plan.sweep["prefill_tokens"]} if kind == "prefill" else {}
    labels: Mapping[str, str | int] = {"path": "llama-bench", "depth": 0, "sweep": "threads", **tokens}
    name = f"{kind}_speed"
    by_count = {count: sweep.samples(name, **labels, threads=count) for count in counts}
    best = max(by_count, key=lambda count: median(by_count[count]))
    interval = ratio_interval(sweep.samples(name, **labels), by_count[best], paired=True, seed=plan.seed)
    judged = ratios.interval(
        "auto_threads", "ratio", interval, [],
        labels={"kind": kind, "best_threads": best}, better="higher",
        formula=f"speed with the appliance's own threads / with the best of the sweep; {PAIRED_FORMULA}",
        bound=plan.targets["auto_threads"],
    )  # fmt: skip
    assert judged.verdict != "FAIL", f"{best} threads are better: {judged.reason}"
