"""Two runs, metric by metric: better, worse, the same, or not to be told, with the interval of the ratio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.bench.statistics import (
    PAIRED_FORMULA,
    UNPAIRED_FORMULA,
    Interval,
    ratio_interval,
)
from harness.bench.verdict import FEWEST_SAMPLES, MOST_OTHERS, MOST_STEAL, doubts_of_ratio
from harness.errors import HarnessError
from harness.results.model import Better, Cell, Metric, Results
from harness.results.verdict import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS

Finding = Literal["better", "worse", "same", "unclear"]

INTERLEAVED = "interleaved"
"""A condition of two cells whose samples were taken in turns: the same text in both. Their i-th samples are
pairs."""

NOT_SAMPLED = frozenset({"image_size"})
"""Metrics that are what they are: one value says it all."""

RATIO_UNITS = frozenset({"ratio", "share"})
"""Units of what was made of things measured side by side in one run."""

NEVER_THE_SAME = frozenset(
    {
        INTERLEAVED,
        "steal_percent",
        "others_cores",
        "memory_available_before_mib",
        "memory_available_after_mib",
        "frequency_before_mhz",
        "frequency_after_mhz",
        "swapped_pages",
        "seconds_measured",
        # sentences with the figures of their run
        "bottleneck",
        "roofline_check",
    }
)
"""Conditions that differ between any two runs."""

CROWDED_FOR_PAIRS = 0.25
"""Share of the host's cores that others may keep busy while two are measured in turns. What slows the host
slows both alike only while each finds its CPUs: threads of one engine wait for each other, so that with
others on 1.5 of 2 cores an engine with one thread was measured 3 to 37 times as fast as with two."""

DEFAULT_THRESHOLD = 0.05


@dataclass(frozen=True)
class Row:
    """One metric in both runs. `before` and `after` are its values in A and B, `ratio` is B/A, None where it
    can't be made; `reason` says in words why the finding is what it is. `sampled`: it was measured, and not
    read off the image."""

    cell: str
    title: str
    unit: str
    better: Better
    before: float
    after: float
    ratio: Interval | None
    paired: bool
    finding: Finding
    reason: str
    sampled: bool = True


@dataclass(frozen=True)
class Comparison:
    """All metrics that both runs have. `threshold`: the share by which a value may differ and still be the
    same. `notes` are sentences on what else differs between the two."""

    before: str
    after: str
    threshold: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def counts(self) -> dict[Finding, int]:
        """How many rows have which finding, the worst first."""
        counted = Counter(row.finding for row in self.rows)
        order: tuple[Finding, ...] = ("worse", "better", "same", "unclear")
        return {finding: counted[finding] for finding in order}

    @property
    def exit_code(self) -> int:
        """1 when something got worse by more than the threshold, 3 when nothing that was measured could be
        told, else 0. The size of an image is always known: it makes no run conclusive in which no speed was.
        """
        if self.counts["worse"]:
            return EXIT_FAIL
        measured = [row for row in self.rows if row.sampled] or self.rows
        return EXIT_INCONCLUSIVE if all(row.finding == "unclear" for row in measured) else EXIT_PASS

    @property
    def formula(self) -> str:
        """How the ratios come about."""
        used = {row.paired for row in self.rows if row.ratio is not None}
        texts = {True: f"paired: {PAIRED_FORMULA}", False: f"unpaired: {UNPAIRED_FORMULA}"}
        return "; ".join(texts[paired] for paired in sorted(used, reverse=True))


def compare(
    before: Results,
    after: Results,
    *,
    names: tuple[str, str] = ("A", "B"),
    threshold: float = DEFAULT_THRESHOLD,
    seed: int = 0,
) -> Comparison:
    """Hold B against A: metrics of the same cell, name and labels that have a direction in which they
    improve.

    `names` are what people call the two. Worse or better is what is so with its whole interval, by more than
    `threshold` (0.05 for 5 %); the same what lies within it. Raises HarnessError when the two have no such
    metric in common.
    """
    rows = tuple(
        compare_metric(here, there, one, other, threshold=threshold, seed=seed)
        for here, there in _cells_of_both(before, after)
        for one, other in _metrics_of_both(here, there)
    )
    if not rows:
        raise HarnessError(
            f"{names[0]} and {names[1]} have no metric in common that can get better or worse",
            hint="compare two runs of `make bench` with the same cells",
        )
    return Comparison(*names, threshold, rows, tuple(_notes(before, after)))


def compare_metric(
    here: Cell, there: Cell, before: Metric, after: Metric, *, threshold: float, seed: int = 0
) -> Row:
    """One metric of two cells."""
    paired = _are_pairs(here, there, before, after)

    def row(finding: Finding, reason: str, ratio: Interval | None = None) -> Row:
        return Row(
            here.name,
            after.title,
            after.unit,
            after.better,
            before.value,
            after.value,
            ratio,
            paired,
            finding,
            reason,
            sampled=before.name not in NOT_SAMPLED,
        )

    if before.unit != after.unit:
        return row("unclear", f"A has it in {before.unit or 'no unit'}, B in {after.unit or 'no unit'}")
    if min(before.value, after.value, *before.samples, *after.samples) <= 0:
        return row("unclear", "values of 0 and less have no ratio")
    if before.name in NOT_SAMPLED:
        ratio = ratio_interval((after.value,), (before.value,), paired=False)
    elif before.samples and after.samples:
        ratio = ratio_interval(after.samples, before.samples, paired=paired, seed=seed)
    else:
        of_both = _of_intervals(before, after)
        if of_both is None:
            return row(
                "unclear", f"{'B' if before.samples else 'A'} has neither samples nor an interval of it"
            )
        ratio = of_both
    doubts = [] if before.name in NOT_SAMPLED else _doubts(here, there, before, paired, ratio.n)
    if doubts:
        return row("unclear", "; ".join(doubts), ratio)
    return row(*_finding(ratio, after.better, threshold), ratio)


def _of_intervals(before: Metric, after: Metric) -> Interval | None:
    """The ratio of two values that only have their intervals: from the lower end over the upper one to the
    upper over the lower, which is wider than need be. None without them."""
    if (
        before.ci_low is None
        or before.ci_high is None
        or after.ci_low is None
        or after.ci_high is None
        or min(before.ci_low, after.ci_low, before.ci_high, after.ci_high) <= 0
    ):
        return None
    value = after.value / before.value
    low, high = after.ci_low / before.ci_high, after.ci_high / before.ci_low
    # A file may hold anything: nothing says that its values lie in their intervals.
    return Interval(value, min(low, value), max(high, value), min(before.n or 1, after.n or 1))


def _finding(ratio: Interval, better: Better, threshold: float) -> tuple[Finding, str]:
    span = change(ratio)
    if 1 - threshold <= ratio.low and ratio.high <= 1 + threshold:
        return "same", f"{span}, within {100 * threshold:.3g}%"
    if ratio.low > 1 + threshold:
        return ("better" if better == "higher" else "worse"), span
    if ratio.high < 1 - threshold:
        return ("better" if better == "lower" else "worse"), span
    return "unclear", f"{span}, on both sides of the threshold of {100 * threshold:.3g}%"


def change(ratio: Interval) -> str:
    """`3.1 to 4.5% lower`, `1.2% lower to 0.4% higher`."""
    low, high = 100 * (ratio.low - 1), 100 * (ratio.high - 1)
    if low == high:
        return f"{abs(low):.3g}% {'higher' if low > 0 else 'lower'}" if low else "no change"
    if low >= 0:
        return f"{low:.3g} to {high:.3g}% higher"
    if high <= 0:
        return f"{-high:.3g} to {-low:.3g}% lower"
    return f"{-low:.3g}% lower to {high:.3g}% higher"


def _cells_of_both(before: Results, after: Results) -> Iterator[tuple[Cell, Cell]]:
    others = {cell.name: cell for cell in after.cells}
    return ((cell, others[cell.name]) for cell in before.cells if cell.name in others)


def _metrics_of_both(here: Cell, there: Cell) -> Iterator[tuple[Metric, Metric]]:
    for metric in here.metrics:
        same = next((one for one in there.metrics if one.is_same_as(metric)), None)
        if same is not None and same.better:
            yield metric, same


def _are_pairs(here: Cell, there: Cell, before: Metric, after: Metric) -> bool:
    in_turns = here.conditions.get(INTERLEAVED)
    return (
        bool(in_turns)
        and in_turns == there.conditions.get(INTERLEAVED)
        and len(before.samples) == len(after.samples) > 0
    )


def _doubts(here: Cell, there: Cell, metric: Metric, paired: bool, n: int) -> list[str]:
    doubts = list(dict.fromkeys(doubts_of_ratio(here.accelerator) + doubts_of_ratio(there.accelerator)))
    if n < FEWEST_SAMPLES:
        doubts.append(f"only {n} {'sample' if n == 1 else 'samples'}, at least {FEWEST_SAMPLES} are needed")
    if metric.unit in RATIO_UNITS:
        return doubts
    if paired:
        # They were measured in one stretch of time, so both tell the same of it.
        return [*doubts, *_others(here, CROWDED_FOR_PAIRS)]
    return doubts + [f"{name}: {one}" for name, cell in (("A", here), ("B", there)) for one in _crowded(cell)]


def _crowded(cell: Cell) -> Iterator[str]:
    """What a crowded host did to one run, it didn't do to the other: neither to pairs nor to what is a ratio
    already."""
    steal = cell.conditions.get("steal_percent")
    if isinstance(steal, int | float) and steal > 100 * MOST_STEAL:
        yield f"{steal:.3g}% of the CPU time was stolen"
    yield from _others(cell, MOST_OTHERS)


def _others(cell: Cell, most: float) -> Iterator[str]:
    """`most`: the share of the cores that others may use."""
    others, cores = (cell.conditions.get(name) for name in ("others_cores", "cores"))
    if isinstance(others, int | float) and isinstance(cores, int | float) and others > most * cores:
        yield f"others used {others:.2f} of the host's {cores:g} cores"


def _notes(before: Results, after: Results) -> Iterator[str]:
    facts = {
        "host's processor": (before.host.cpu, after.host.cpu),
        "host's number of cores": (before.host.cores, after.host.cores),
        "engine": (before.image.engine_version, after.image.engine_version),
        "model": (before.image.model, after.image.model),
        "flavor": (before.image.flavor, after.image.flavor),
    }
    for what, (one, other) in facts.items():
        if one != other:
            yield f"the {what} differs: {one or 'unknown'}, {other or 'unknown'}"
    if before.image.sha256 and before.image.sha256 == after.image.sha256:
        yield "both are the same image"
    for here, there in _cells_of_both(before, after):
        yield from _notes_of_cell(here, there)
        yield from _notes_of_metrics(here, there)
    alone = {cell.name for cell in before.cells} ^ {cell.name for cell in after.cells}
    if alone:
        yield f"only one of the two has {', '.join(sorted(alone))}"


def _notes_of_metrics(here: Cell, there: Cell) -> Iterator[str]:
    for which, cell, other in (("A", here, there), ("B", there, here)):
        alone = [
            one.title
            for one in cell.metrics
            if one.better and not any(one.is_same_as(metric) for metric in other.metrics)
        ]
        if alone:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            yield f"{cell.name}: only {which} has {', '.join(alone[:3])}{more}"


def _notes_of_cell(here: Cell, there: Cell) -> Iterator[str]:
    machines = [f"{cell.machine} ({cell.accelerator})" for cell in (here, there)]
    if machines[0] != machines[1]:
        yield f"{here.name}: the machine differs: {machines[0]}, {machines[1]}"
    for name, one in here.conditions.items():
        other = there.conditions.get(name, one)
        if one != other and name not in NEVER_THE_SAME:
            yield f"{here.name}: {name} differs: {one}, {other}"
