"""The points that are llama-bench in the guest."""

from __future__ import annotations

from collections.abc import Iterable

from harness.bench.engine_bench import EngineTest, engine_bench
from harness.bench.wire import Failure
from harness.errors import HarnessError
from harness.machine.protocol import Machine
from suites.benchmark.campaign import Point, Value


def bench_point(machine: Machine, test: EngineTest, **more_labels: str | int) -> Point:
    """One short repetition of llama-bench."""

    def run(_round: int) -> Iterable[Value | Failure]:
        try:
            ran = engine_bench(machine, test)
        except HarnessError as error:
            yield Failure("engine", error.message)
            return
        yield Value(ran.metric, "tok/s", {**bench_labels(test), **more_labels}, ran.speeds)

    return Point(f"llama-bench, {test.kind} of {test.tokens} behind {test.depth}", run)


def bench_labels(test: EngineTest) -> dict[str, str | int | float]:
    """The axes of a test as far as it sets them: what it leaves to the appliance isn't one."""
    return {
        "path": "llama-bench",
        **({"prompt_tokens": test.tokens} if test.kind == "prefill" else {}),
        "depth": test.depth,
        **({"threads": test.threads} if test.threads is not None else {}),
    }
