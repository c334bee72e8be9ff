"""Results that contradict themselves: a verdict or count that doesn't follow from what stands beside it.

A seal tells of an edit only where nobody made it anew; what was edited still has to fit the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.results.model import Cell, Metric, Results
from harness.results.verdict import count, count_suites, judge_run


def contradiction(results: Results) -> str:
    """The first contradiction of a run in words; "" where there is none."""
    for cell in results.cells:
        for found in _in_cell(cell):
            return f"contradicts itself: {found}"
    follows = judge_run(results.cells, fault=results.fault, interrupted=results.interrupted).verdict
    if follows != results.verdict:
        return f"contradicts itself: it says {results.verdict}, {follows} follows from its cells"
    return ""


def _in_cell(cell: Cell) -> Iterator[str]:
    if count(cell.checks) != cell.tests:
        yield f"the counts of {cell.name} aren't those of its checks"
    recounted = count_suites(cell.checks, {one.name: one.required for one in cell.suites})
    if {one.name: one.tests for one in recounted} != {one.name: one.tests for one in cell.suites}:
        yield f"the suites of {cell.name} aren't those of its checks"
    if len({check.id for check in cell.checks}) < len(cell.checks):
        yield f"{cell.name} has a check twice"
    for metric in cell.metrics:
        if metric.verdict == "PASS" and _misses_its_target(metric):
            yield f"{metric.title} of {cell.name} is PASS and misses its target"
    if cell.verdict == "PASS":
        yield from _against_a_pass(cell)


def _against_a_pass(cell: Cell) -> Iterator[str]:
    """What harness.results.verdict.judge_cell gives no PASS with."""
    for what, there in (
        ("failed checks", cell.tests.failed or cell.tests.errors),
        ("a fault", cell.fault),
        ("an interruption", cell.interrupted),
        ("a missed target", any(metric.verdict == "FAIL" for metric in cell.metrics)),
        ("too few checks", any(one.tests.executed < one.required for one in cell.suites)),
    ):
        if there:
            yield f"{cell.name} is PASS with {what}"


def _misses_its_target(metric: Metric) -> bool:
    if metric.target is None or not metric.better:
        return False
    short = metric.target - metric.value if metric.better == "higher" else metric.value - metric.target
    return short > 0
