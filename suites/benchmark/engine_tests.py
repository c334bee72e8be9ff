"""The points that are llama-bench in the guest."""

from __future__ import annotations

from collections.abc import Iterable

from harness.bench.engine_bench import EngineTest, engine_bench
from harness.bench.statistics import median
from harness.bench.wire import Failure
from harness.errors import HarnessError
from harness.machine.protocol import Machine
from suites.benchmark.campaign import Point, Value


def bench_point(
    machine: Machine, test: EngineTest, *, repetitions: int = 1, **more_labels: str | int
) -> Point:
    """A short call of llama-bench; the median of its repetitions."""

    def run(_round: int) -> Iterable[Value | Failure]:
        try:
            ran = engine_bench(machine, test, repetitions=repetitions)
        except HarnessError as error:
            yield Failure("engine", error.message)
            return
        yield Value(ran.metric, "tok/s", {**bench_labels(test), **more_labels}, (median(ran.speeds),))

    return Point(f"llama-bench, {test.kind} of {test.tokens} behind {test.depth}", run)


def bench_speed(machine: Machine, test: EngineTest) -> float | Failure:
    """Tokens a second of one repetition of llama-bench."""
    try:
        return engine_bench(machine, test).speeds[0]
    except HarnessError as error:
        return Failure("engine", error.message)


def bench_labels(test: EngineTest) -> dict[str, str | int | float]:
    """The axes of a test as far as it sets them: what it leaves to the appliance isn't one."""
    return {
        "path": "llama-bench",
        **({"prompt_tokens": test.tokens} if test.kind == "prefill" else {}),
        "depth": test.depth,
        **({"threads": test.threads} if test.threads is not None else {}),
    }
