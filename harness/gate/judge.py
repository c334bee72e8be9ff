"""From an image, its runs and the rules to an answer with every reason in words: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.gate.evidence import Run, believed, is_stale
from harness.gate.rules import MEASURED, CellRule, FlavorRules, MetricRule
from harness.gate.subject import Subject
from harness.image.build import UNKNOWN
from harness.results.model import Cell, Metric, SuiteCounts, Verdict
from harness.results.quantity import with_interval
from harness.results.rerun import make_command


@dataclass(frozen=True)
class Row:
    """One requirement and what became of it: which run answered it, how many checks of how many."""

    title: str
    verdict: Verdict
    reason: str
    run: str = ""
    place: str = ""
    executed: int | None = None
    minimum: int | None = None


@dataclass(frozen=True)
class Counted:
    """A cell of a run that satisfies a requirement."""

    rule: CellRule
    run: Run
    cell: Cell


@dataclass(frozen=True)
class Answer:
    """What the gate says of an image. `reasons` are all that stand against a PASS; `set_aside` the runs that
    don't count and why; `counted` the cells that do, `believed` the runs against which nothing speaks;
    `unasked` what failed in those without being required, in words."""

    verdict: Verdict
    subject: Subject
    rules: FlavorRules | None
    rows: tuple[Row, ...]
    reasons: tuple[str, ...]
    set_aside: tuple[tuple[Path, str], ...] = ()
    counted: tuple[Counted, ...] = ()
    believed: tuple[Run, ...] = ()
    unasked: tuple[str, ...] = ()


def judge_image(subject: Subject, rules: FlavorRules | None, runs: Sequence[Run], *, now: datetime) -> Answer:
    """The gate's answer. FAIL: something that can be believed speaks against the image. INCONCLUSIVE: too
    little that can be believed speaks for it. `rules` is None where gate.yaml has none for its flavor."""
    if rules is None:
        flavor = subject.image.flavor
        why = (
            "nothing says which flavor this image is: its image.json is missing or of another file"
            if flavor == UNKNOWN
            else f"gate.yaml has no rules for flavor {flavor}"
        )
        return Answer("INCONCLUSIVE", subject, None, (), (why,))
    told = believed(runs)
    answered = [_judge_cell(rule, told, rules, now) for rule in rules.cells]
    counted = tuple(found for _, found in answered if found is not None)
    rows = (
        *_about_the_image(subject, rules),
        *_about_the_runs(runs),
        *(row for row, _ in answered),
        *(_judge_metric(rule, counted) for rule in rules.metrics),
    )
    return Answer(
        verdict=_worst(rows),
        subject=subject,
        rules=rules,
        rows=rows,
        reasons=tuple(f"{row.title}: {row.reason}" for row in rows if row.verdict != "PASS"),
        set_aside=tuple((run.path, run.doubt) for run in runs if run.doubt),
        counted=counted,
        believed=told,
        unasked=tuple(_unasked(rules, told)),
    )


def _unasked(rules: FlavorRules, runs: Sequence[Run]) -> Iterator[str]:
    """Failed cells that no requirement looks at: they decide nothing, and nobody shall overlook them."""
    for run in runs:
        for cell in run.results.cells:
            if cell.verdict == "FAIL" and not any(
                _speaks_of(rule, cell, suite) for rule in rules.cells for suite in cell.suites
            ):
                yield (
                    f"{cell.name} on {cell.machine}/{cell.accelerator} failed in the run of "
                    f"{run.results.started}: {_failure(cell)}"
                )


def _speaks_of(rule: CellRule, cell: Cell, suite: SuiteCounts) -> bool:
    return (suite.name, cell.profile, cell.tls_mode) == (
        rule.suite,
        rule.profile,
        rule.tls_mode,
    ) and f"{cell.machine}/{cell.accelerator}" in rule.places


def _failure(cell: Cell) -> str:
    """The reason of a failed cell, and the first of its checks that failed."""
    failed = [check for check in cell.checks if check.status in ("failed", "error")]
    if not failed:
        return cell.reason
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"{cell.reason}: {failed[0].title}{more}"


def _worst(rows: Iterable[Row]) -> Verdict:
    verdicts = {row.verdict for row in rows}
    if "FAIL" in verdicts:
        return "FAIL"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in verdicts else "PASS"


def _about_the_image(subject: Subject, rules: FlavorRules) -> tuple[Row, ...]:
    engine = subject.image.engine
    if engine in rules.engines:
        engine_row = Row("engine", "PASS", f"{engine} {subject.image.engine_version}")
    else:
        accepted = ", ".join(rules.engines)
        verdict: Verdict = "INCONCLUSIVE" if engine == UNKNOWN else "FAIL"
        engine_row = Row("engine", verdict, f"{engine} is none of {accepted}")
    if subject.parts is None:
        parts_row = Row(
            "pinned parts", "INCONCLUSIVE", "its image.json doesn't tell its parts: build it again"
        )
    elif subject.unpinned:
        parts_row = Row("pinned parts", "FAIL", f"not fixed by a hash: {', '.join(subject.unpinned)}")
    else:
        parts_row = Row("pinned parts", "PASS", f"{len(subject.parts)} downloads, each fixed by its sha256")
    return engine_row, parts_row


def _about_the_runs(runs: Sequence[Run]) -> Iterator[Row]:
    """A run that was changed may have shown a failure: setting it aside must not turn that into a PASS."""
    if untold := [run for run in runs if run.untold]:
        folders = ", ".join(str(run.path.parent) for run in untold)
        yield Row(
            "runs",
            "INCONCLUSIVE",
            f"what {folders} showed can't be told any more and may have been a failure: "
            "move it away and run that again, or name the runs that count (RESULTS=)",
        )


@dataclass(frozen=True)
class _Seen:
    """A cell that speaks of a rule, and whether it passes, fails or (with the reason) neither."""

    run: Run
    cell: Cell
    suite: SuiteCounts
    verdict: Verdict
    reason: str


def _judge_cell(
    rule: CellRule, runs: Sequence[Run], rules: FlavorRules, now: datetime
) -> tuple[Row, Counted | None]:
    seen = [
        _look(rule, run, cell, suite, rules, now)
        for run in runs
        for cell in run.results.cells
        for suite in cell.suites
        if _speaks_of(rule, cell, suite)
    ]
    if not seen:
        return Row(rule.title, "INCONCLUSIVE", _nothing_of(rule, runs), minimum=rule.minimum), None
    failures = [place for place, one in enumerate(seen) if one.verdict == "FAIL"]
    since = seen[failures[-1] + 1 :] if failures else seen
    passes = [one for one in since if one.verdict == "PASS"]
    if failures and len(passes) < rules.passes_after_a_fail:
        failed = seen[failures[-1]]
        when = f"failed in the run of {failed.run.results.started}: {failed.reason}"
        if not passes:
            return _row(
                rule, failed, "FAIL", f"{when}; has to pass {rules.passes_after_a_fail} times now"
            ), None
        wanted = f"passed {len(passes)} of {rules.passes_after_a_fail} times since"
        return _row(rule, passes[-1], "INCONCLUSIVE", f"{when}; {wanted}"), None
    if not passes:
        return _row(rule, since[-1], "INCONCLUSIVE", since[-1].reason), None
    note = f"; failed before, {len(passes)} passes since" if failures else ""
    best = passes[-1]
    return _row(rule, best, "PASS", f"{best.cell.reason}{note}"), Counted(rule, best.run, best.cell)


def _look(
    rule: CellRule, run: Run, cell: Cell, suite: SuiteCounts, rules: FlavorRules, now: datetime
) -> _Seen:
    def seen(verdict: Verdict, reason: str) -> _Seen:
        return _Seen(run, cell, suite, verdict, reason)

    # What failed stands whatever else is wrong with the run: a part of a suite can't pass, but it can fail.
    if cell.verdict == "FAIL":
        return seen("FAIL", _failure(cell))
    if cell.verdict != "PASS":
        return seen("INCONCLUSIVE", cell.reason)
    if run.results.selection:
        return seen("INCONCLUSIVE", f"only a selection was run (TESTS={run.results.selection})")
    if is_stale(run, rules, now):
        days = (now - run.started).days
        return seen(
            "INCONCLUSIVE", f"passed {days} days ago, at most {rules.oldest_days} count: run it again"
        )
    if suite.tests.executed < rule.minimum:
        return seen(
            "INCONCLUSIVE", f"only {suite.tests.executed} checks were executed, {rule.minimum} must be"
        )
    ran = {check.file.rpartition("/")[2] for check in cell.checks if check.status != "skipped"}
    if missing := sorted(rule.files - ran):
        return seen("INCONCLUSIVE", f"not the whole suite: no check of {', '.join(missing[:3])} was executed")
    return seen("PASS", cell.reason)


def _row(rule: CellRule, seen: _Seen, verdict: Verdict, reason: str) -> Row:
    return Row(
        title=rule.title,
        verdict=verdict,
        reason=reason,
        run=seen.run.results.started,
        place=f"{seen.cell.machine}/{seen.cell.accelerator}",
        executed=seen.suite.tests.executed,
        minimum=rule.minimum,
    )


def _nothing_of(rule: CellRule, runs: Sequence[Run]) -> str:
    elsewhere = sorted(
        {
            f"{cell.machine}/{cell.accelerator}"
            for run in runs
            for cell in run.results.cells
            for suite in cell.suites
            if (suite.name, cell.profile, cell.tls_mode) == (rule.suite, rule.profile, rule.tls_mode)
        }
    )
    if elsewhere:
        return f"ran on {', '.join(elsewhere)} only; {' or '.join(rule.places)} counts"
    wanted = {
        "PROFILES": rule.profile,
        "TLS_MODES": rule.tls_mode,
        "SUITES": rule.suite,
    }
    target = "test-image"
    if rule.suite == "benchmark":
        target, wanted = "bench", {"PROFILES": rule.profile}
    return f"no run has it: {make_command(target, {'IMAGE': '...', **wanted})}"


def _judge_metric(rule: MetricRule, counted: Sequence[Counted]) -> Row:
    cells = [one for one in counted if (one.rule.suite, one.rule.profile) == (rule.suite, rule.profile)]
    for one in sorted(cells, key=lambda found: found.run.started, reverse=True):
        metrics = [metric for metric in one.cell.metrics if _is_meant(rule, metric)]
        if metrics:
            return _judge_values(rule, metrics, one)
    return Row(rule.title, "INCONCLUSIVE", f"not measured in a cell of {rule.suite} that counts")


def _is_meant(rule: MetricRule, metric: Metric) -> bool:
    labels: Mapping[str, object] = metric.labels
    return metric.name == rule.name and all(labels.get(key) == value for key, value in rule.labels.items())


def _judge_values(rule: MetricRule, metrics: Sequence[Metric], found: Counted) -> Row:
    told = ", ".join(with_interval(metric) for metric in metrics)
    refused = [metric for metric in metrics if _verdict_of(metric) not in rule.verdicts]
    run, place = found.run.results.started, f"{found.cell.machine}/{found.cell.accelerator}"
    if not refused:
        return Row(rule.title, "PASS", told, run, place)
    verdict: Verdict = "FAIL" if any(metric.verdict == "FAIL" for metric in refused) else "INCONCLUSIVE"
    why = "; ".join(
        f"{with_interval(metric)} is {_verdict_of(metric)}{f' ({metric.reason})' if metric.reason else ''}"
        for metric in refused
    )
    return Row(rule.title, verdict, f"{why}; accepted: {', '.join(rule.verdicts)}", run, place)


def _verdict_of(metric: Metric) -> str:
    """MEASURED for a value that nothing had to be reached with."""
    return MEASURED if metric.target is None else str(metric.verdict)
