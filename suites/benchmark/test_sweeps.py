"""Settings that the appliance did not choose, measured beside those that it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from harness.bench.engine_bench import EngineTest
from harness.bench.statistics import PAIRED_FORMULA, median, ratio_interval
from harness.machine.protocol import Machine
from harness.terminal import say
from suites.benchmark.budget import NO_BENCH
from suites.benchmark.campaign import Campaign, Point, run_rounds
from suites.benchmark.engine_tests import bench_point
from suites.benchmark.plan import BenchPlan
from suites.benchmark.recording import Recorder

Kind = Literal["decode", "prefill"]
CHOSEN: Mapping[Kind, str] = {"decode": "LLAMA_ARG_THREADS", "prefill": "SLM_THREADS_BATCH"}
"""Where the engine's environment has the appliance's choice."""


@dataclass(frozen=True)
class Threads:
    """The counts that are compared, and which of them the appliance chose."""

    counts: tuple[int, ...]
    chosen: Mapping[Kind, int]


def thread_counts(cpus: int) -> set[int]:
    """1, 2, 4 and so on, three quarters, and all."""
    doubled = {2**power for power in range(cpus.bit_length()) if 2**power <= cpus}
    return doubled | {max(1, cpus * 3 // 4), cpus}


@pytest.fixture(scope="module")
def threads(machine: Machine, own_bench: bool) -> Threads:
    if not own_bench:
        pytest.skip(f"left out: {NO_BENCH}")
    environment = dict(
        line.split("=", 1) for line in machine.run("cat /etc/slm-copilot/engine.env").stdout.splitlines()
    )
    chosen = {kind: int(environment[name]) for kind, name in CHOSEN.items()}
    counts = thread_counts(int(machine.run("nproc").stdout)) | set(chosen.values())
    return Threads(tuple(sorted(counts)), chosen)


@pytest.fixture(scope="module")
def sweep(machine: Machine, plan: BenchPlan, threads: Threads) -> Campaign:
    """Threads, KV types and flash attention, in rounds of their own."""
    wanted = plan.sweep
    tokens = {"decode": wanted["decode_tokens"], "prefill": wanted["prefill_tokens"]}
    repetitions = wanted["repetitions"]
    points: list[Point] = [
        bench_point(
            machine, EngineTest(kind, tokens[kind], threads=count), repetitions=repetitions, sweep="threads"
        )
        for kind in CHOSEN
        for count in threads.counts
    ]
    for cache_type in wanted["cache_types"]:
        for flash in wanted["flash_attention"]:
            if cache_type != "f16" and not flash:
                continue  # the engine refuses quantized values without flash attention
            test = EngineTest(
                "decode", tokens["decode"], depth=wanted["cache_depth"],
                kv_k=cache_type, kv_v=cache_type, flash_attention="on" if flash else "off",
            )  # fmt: skip
            labels = {"sweep": "cache", "kv": cache_type, "flash_attention": test.flash_attention}
            points.append(bench_point(machine, test, repetitions=repetitions, **labels))
    return run_rounds(
        points,
        rounds=wanted["rounds"],
        warm_up=0,  # each call of llama-bench warms up for itself
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


@pytest.mark.parametrize("kind", CHOSEN)
def test_no_other_number_of_threads_is_much_better(
    kind: Kind, sweep: Campaign, ratios: Recorder, plan: BenchPlan, threads: Threads
) -> None:
    tokens = {"prompt_tokens": plan.sweep["prefill_tokens"]} if kind == "prefill" else {}
    labels = {"path": "llama-bench", "depth": 0, "sweep": "threads", **tokens}
    by_count = {count: sweep.samples(f"{kind}_speed", **labels, threads=count) for count in threads.counts}
    chosen = by_count.pop(threads.chosen[kind])
    if not by_count:
        pytest.skip("this guest has one processor: there is no other number")
    best = max(by_count, key=lambda count: median(by_count[count]))
    interval = ratio_interval(chosen, by_count[best], paired=True, seed=plan.seed)
    judged = ratios.interval(
        "auto_threads", "ratio", interval,
        [one / other for one, other in zip(chosen, by_count[best], strict=True)],
        labels={"kind": kind, "threads": threads.chosen[kind], "best_other_threads": best}, better="higher",
        formula=f"speed with the appliance's threads / with the sweep's best other number; {PAIRED_FORMULA}",
        bound=plan.targets["auto_threads"],
    )  # fmt: skip
    assert judged.verdict != "FAIL", f"{best} threads are better: {judged.reason}"
