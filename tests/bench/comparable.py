"""Made-up runs to compare."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from statistics import median

from harness.results.model import (
    Better,
    Cell,
    CellTimings,
    Counts,
    HostFacts,
    ImageFacts,
    Label,
    Metric,
    Results,
    RunTimings,
)


def noisy(value: float, n: int = 10, noise: float = 0.01, seed: int = 1) -> tuple[float, ...]:
    """Samples around a value."""
    generator = random.Random(seed)
    return tuple(value * (1 + noise * generator.uniform(-1, 1)) for _ in range(n))


def metric(
    name: str,
    samples: Sequence[float],
    unit: str = "tok/s",
    better: Better = "higher",
    labels: Mapping[str, Label] | None = None,
) -> Metric:
    return Metric(
        name,
        unit,
        median(samples),
        n=len(samples),
        labels=labels or {},
        samples=tuple(samples),
        better=better,
    )


def cell(*metrics: Metric, name: str = "ci-bench", accelerator: str = "native", **conditions: Label) -> Cell:
    return Cell(
        name=name,
        profile="ci",
        tls_mode="selfsigned",
        machine="nspawn",
        accelerator=accelerator,
        verdict="PASS",
        reason="",
        fault="",
        interrupted=False,
        tests=Counts(passed=1),
        timings=CellTimings(),
        metrics=metrics,
        checks=(),
        guest={},
        rerun="make bench",
        evidence="cells/ci-bench",
        files=(),
        conditions={"cores": 16, "steal_percent": 0.0, "others_cores": 0.1} | conditions,
    )


def run_of(*cells: Cell, cpu: str = "AMD EPYC 9554", sha256: str = "ab" * 32) -> Results:
    return Results(
        verdict="PASS",
        reason="",
        fault="",
        interrupted=False,
        image=ImageFacts("image.qcow2", sha256, "ci", "llama-server", "0.5.0", "smollm2"),
        host=HostFacts(cpu, 16, 32768, "6.1.0", "native", "", "nspawn"),
        cells=cells,
        suites=("benchmark",),
        selection="",
        started="2026-01-31T09:45:00Z",
        wall_s=60.0,
        timings=RunTimings(0.0, 60.0),
        commit="ab" * 20,
        command="make bench",
    )
