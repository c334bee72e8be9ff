"""Measurements of a made-up machine: two CPUs, 24 GiB, a memory of 33 GB/s."""

from __future__ import annotations

from dataclasses import replace

from harness.bench.bandwidth import Bandwidth, Reading
from harness.bench.conditions import Conditions
from harness.bench.memory_facts import WorkingSet
from harness.sizing.appliance_rules import Appliance, Reserves
from harness.sizing.llama_bench import Question, Timed
from harness.sizing.measured import Measured
from harness.sizing.measuring import facts_of
from harness.sizing.shapes import ModelShape, find_model

DEVSTRAL = find_model("devstral-24b-q4km")

APPLIANCE = Appliance(
    decode_threads=2,
    prefill_threads=2,
    memory_kib=24_684_096,
    reserves=Reserves(128 * 1024, 256, 384 * 1024, 5, 512 * 1024),
    batch=64,
    smallest_context=512,
    default_context=8192,
)

IDLE = Conditions(
    cpu="Test CPU",
    cpu_flags=("avx2",),
    host_model=None,
    cores=2,
    smt="off",
    numa_nodes=1,
    governor=None,
    huge_pages="madvise",
    ram_mib=24105,
    memory_before_mib=18000,
    memory_after_mib=18000,
    frequency_before_mhz=None,
    frequency_after_mhz=None,
    steal_share=0.0,
    others_cores=0.01,
    swapped_pages=0,
    seconds=200.0,
)
BUSY = replace(IDLE, others_cores=1.5)

BANDWIDTH = Bandwidth(
    cpus=(0, 1),
    working_set=WorkingSet(2 * 10**9, 32 * 2**20),
    ahead=True,
    readings=(
        Reading(1, "read", "small", (21.0, 22.0), (1.0, 1.0)),
        Reading(2, "read", "small", (32.0, 33.0), (1.0, 1.0)),
    ),
)


def bandwidth(_: object, *, decode_bytes: float, **__: object) -> Bandwidth:
    """As if it had been measured for a model that reads so much."""
    return replace(BANDWIDTH, working_set=WorkingSet(round(decode_bytes), 32 * 2**20))


DECODE = Question(2, 5, 64, generate=14)


def timed(question: Question, *samples: float) -> Timed:
    return Timed(question, samples, 1, 1, "zen4", 60.0)


def measured(shape: ModelShape = DEVSTRAL, *, conditions: Conditions = IDLE, factor: float = 1.0) -> Measured:
    """What this machine does with the 24 B model; `factor` makes it so many times as fast."""
    decode = [factor * one for one in (1.92, 1.93, 1.94, 1.93, 1.93)]
    return Measured(
        shape=shape,
        facts=facts_of(shape),
        appliance=APPLIANCE,
        decode=timed(DECODE, *decode),
        fewer=timed(replace(DECODE, threads=1), 1.4, 1.41, 1.4, 1.4, 1.39),
        deep=timed(replace(DECODE, depth=512, generate=4), 1.9, 1.9, 1.9, 1.9, 1.9),
        prefill=timed(Question(2, 5, 64, prompt=128), 6.8, 6.8, 6.84, 6.76, 6.8),
        bandwidth=BANDWIDTH,
        bandwidth_note="",
        conditions=conditions,
    )
