"""How fast this hardware could decode at best, and how near the engine comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.bench.bandwidth import Bandwidth, check_against_decode, combined, measure_bandwidth, thread_steps
from harness.bench.engine_bench import EngineTest, engine_bench
from harness.bench.gguf_facts import ModelFacts, model_facts
from harness.bench.gguf_header import read_guest_header
from harness.bench.prediction import predict_decode
from harness.bench.roofline import DecodePoint, bottleneck, ceiling, mean_depth, reached
from harness.bench.statistics import median_interval
from harness.machine.protocol import Machine
from harness.profiles import load_profiles
from suites.benchmark.budget import NO_BENCH
from suites.benchmark.conftest import Measured
from suites.benchmark.plan import BenchPlan
from suites.benchmark.recording import MEASURED_ONLY, Recorder
from suites.conformance.engine_loopback import engine_settings

PROBES = 3
"""Times the bandwidth is measured, between the decodes: what neighbours leave of it changes."""


@dataclass(frozen=True)
class Roof:
    """What was measured in turn: bandwidth, and decodes at depth 0 by number of threads (tok/s)."""

    facts: ModelFacts
    bandwidth: Bandwidth
    decodes: dict[int, list[float]]
    tokens: int

    def points(self, seed: int) -> list[DecodePoint]:
        depth = mean_depth(0, self.tokens)
        return [
            DecodePoint(threads, median_interval(speeds, seed=seed), depth)
            for threads, speeds in self.decodes.items()
        ]


@pytest.fixture(scope="module")
def roof(machine: Machine, plan: BenchPlan, own_bench: bool) -> Roof:
    if not own_bench:
        pytest.skip(f"left out: {NO_BENCH}")
    facts = model_facts(read_guest_header(machine, model_file(machine)), "the image's model")
    counts = thread_steps(int(machine.run("nproc").stdout))
    tokens = plan.llama_bench["decode_tokens"]
    decodes: dict[int, list[float]] = {count: [] for count in counts}
    probes = []
    probed = {round(place * (plan.rounds - 1) / (PROBES - 1)) for place in range(PROBES)}
    for number in range(plan.rounds):
        if number in probed:
            probes.append(measure_bandwidth(machine.run, threads=counts, decode_bytes=facts.decode_bytes))
        for count in counts:
            ran = engine_bench(machine, EngineTest("decode", tokens, threads=count))
            decodes[count].extend(ran.speeds)
    return Roof(facts, combined(probes), decodes, tokens)


def model_file(machine: Machine) -> str:
    """Where the guest has its model."""
    return engine_settings(machine)["model"]


def test_no_decode_beats_the_ceiling(roof: Roof, record_conditions: Callable[[dict[str, str]], None]) -> None:
    """One that does proves the probe wrong, and every figure made with it."""
    checks = {
        threads: check_against_decode(
            roof.bandwidth,
            max(speeds),
            roof.facts.decode_bytes_at(mean_depth(0, roof.tokens)),
            threads=threads,
        )
        for threads, speeds in roof.decodes.items()
    }
    words = {True: "kept", False: "beaten", None: "can't tell"}
    told = [f"{words[check.sound]}: {check.reason}" for check in checks.values()]
    record_conditions({"roofline_check": "; ".join(told)})
    assert not [check.reason for check in checks.values() if check.sound is False]


def test_bandwidth_ceiling_and_what_is_reached_are_recorded(
    roof: Roof, measured: Measured, values: Recorder, plan: BenchPlan
) -> None:
    for threads in roof.bandwidth.thread_counts:
        reading = roof.bandwidth.best(threads)
        values.interval(
            "bandwidth", "GB/s", roof.bandwidth.ceiling(threads), reading.gb_s,
            labels={"threads": threads, "kernel": reading.kernel}, better="higher",
            formula="10^9 bytes read a second; the fastest pass of the fastest kernel",
        )  # fmt: skip
    threads = max(roof.decodes)
    for depth in (0, *measured.budget.prompt_tokens):
        limit = ceiling(roof.facts, roof.bandwidth, threads=threads, depth=mean_depth(depth, roof.tokens))
        values.interval(
            "roofline_ceiling", "tok/s", limit.tok_s, [],
            labels={"depth": depth, "threads": threads, "regime": limit.regime}, better="",
            formula="bandwidth / (bytes of weights a token reads + KV(depth))",
        )  # fmt: skip
    for point in roof.points(plan.seed):
        limit = ceiling(roof.facts, roof.bandwidth, threads=point.threads, depth=point.depth)
        values.interval(
            "eta", "share", reached(point.tok_s, limit), [],
            # A better probe of the bandwidth lowers it: no direction by which two runs could be compared.
            labels={"threads": point.threads, "depth": 0}, better="",
            formula="decode by llama-bench / ceiling at the same depth and threads",
        )  # fmt: skip


def test_other_profiles_are_predicted_or_said_not_to_be(
    roof: Roof, plan: BenchPlan, record_metric: Callable[..., None]
) -> None:
    for profile in load_profiles().values():
        told = predict_decode(roof.facts, roof.bandwidth, roof.points(plan.seed), threads=profile.vcpus)
        likely = told.likely
        record_metric(
            "predicted_decode_speed", "tok/s", likely.value if likely else told.at_least,
            ci_low=told.at_least, ci_high=told.at_most, n=likely.n if likely else 1,
            verdict="INCONCLUSIVE", reason=f"{MEASURED_ONLY}; {told.basis}: {told.reason}",
            labels={"profile": profile.name, "threads": profile.vcpus}, better="higher",
            formula="min(eta x bandwidth at so many threads, each thread's own pace) for this image's model",
        )  # fmt: skip
        assert told.at_least <= told.at_most, told


def test_the_bottleneck_is_named(
    roof: Roof, plan: BenchPlan, record_conditions: Callable[[dict[str, str]], None]
) -> None:
    sentence = bottleneck(roof.facts, roof.bandwidth, roof.points(plan.seed))
    record_conditions({"bottleneck": sentence})
    assert sentence.endswith(".")
