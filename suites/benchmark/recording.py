"""From samples to a metric with its interval and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.bench.statistics import (
    MEDIAN_FORMULA,
    PERCENTILE_FORMULA,
    Interval,
    median_interval,
    outliers,
    percentile,
)
from harness.bench.verdict import Judged, judge
from harness.results.model import Better, Label
from suites.benchmark.plan import Bound

PERCENTILES = (50, 90, 95, 99)
MEASURED_ONLY = "no target: measured only"


@dataclass(frozen=True)
class Recorder:
    """Writes metrics into the results; `doubts` are why nothing measured here can be judged for sure, a
    sentence each."""

    record: Callable[..., None]
    doubts: tuple[str, ...]
    seed: int

    def median(
        self,
        name: str,
        unit: str,
        samples: Sequence[float],
        *,
        labels: Mapping[str, Label],
        better: Better,
        formula: str = "",
        bound: Bound | None = None,
        more_doubts: Sequence[str] = (),
    ) -> Judged:
        """The median of one value a repetition."""
        interval = median_interval(samples, seed=self.seed)
        formula = f"{formula}; {MEDIAN_FORMULA}" if formula else MEDIAN_FORMULA
        return self.interval(
            name, unit, interval, samples,
            labels=labels, better=better, formula=formula, bound=bound, more_doubts=more_doubts,
        )  # fmt: skip

    def interval(
        self,
        name: str,
        unit: str,
        interval: Interval,
        samples: Sequence[float],
        *,
        labels: Mapping[str, Label],
        better: Better,
        formula: str,
        bound: Bound | None = None,
        more_doubts: Sequence[str] = (),
    ) -> Judged:
        """A value with its bounds; judged where there is something to reach."""
        judged = Judged("INCONCLUSIVE", MEASURED_ONLY)
        target = None
        if bound is not None:
            target = bound.at_least if bound.at_least is not None else bound.at_most
            judged = judge(
                interval,
                at_least=bound.at_least,
                at_most=bound.at_most,
                doubts=(*self.doubts, *more_doubts),
            )
        self.record(
            name,
            unit,
            interval.value,
            n=interval.n,
            ci_low=interval.low,
            ci_high=interval.high,
            target=target,
            verdict=judged.verdict,
            labels=labels,
            samples=samples,
            outliers=outliers(samples),
            reason=judged.reason,
            better=better,
            formula=formula,
        )
        return judged

    def percentiles(
        self,
        name: str,
        unit: str,
        rounds: Sequence[Sequence[float]],
        *,
        labels: Mapping[str, Label],
        formula: str,
    ) -> None:
        """p50 to p99 of many values a round: the percentile of each round, and the median of those."""
        for q in PERCENTILES:
            each = [percentile(values, q) for values in rounds if values]
            if each:
                self.median(
                    name, unit, each,
                    labels={**labels, "statistic": f"p{q}"}, better="lower",
                    formula=f"{formula}; of each repetition {PERCENTILE_FORMULA}",
                )  # fmt: skip

    def all_of(
        self,
        name: str,
        unit: str,
        rounds: Sequence[Sequence[float]],
        *,
        labels: Mapping[str, Label],
        formula: str,
    ) -> None:
        """Every single value, for a plot of their distribution. They depend on each other: no interval."""
        values = [value for row in rounds for value in row]
        self.record(
            name, unit, percentile(values, 50),
            n=len(values), verdict="INCONCLUSIVE", reason=MEASURED_ONLY, better="",
            labels={**labels, "statistic": "all"}, samples=values, formula=formula,
        )  # fmt: skip
