"""The short form of a run: `summary.md`, and the table at the end of the terminal's output."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from harness.cell.titles import topic
from harness.results.machine_label import SHORT, machine_label, machines_of
from harness.results.model import Cell, Check, Counts, Results, SuiteCounts
from harness.results.quantity import target, with_interval
from harness.results.rerun import rerun_check
from harness.results.speed_table import CAPTION, COLUMNS, TITLE, speed_rows
from harness.terminal import format_seconds

VERDICT_STYLE = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}

CONTAINER_NOTE = "A container shares the host's kernel: the verdict that counts for conformance is QEMU's."


def suite_rows(results: Results) -> list[tuple[SuiteCounts, Cell]]:
    """Each suite in each cell it ran in, suite by suite, in the order in which they first appear."""
    order = dict.fromkeys(suite.name for cell in results.cells for suite in cell.suites)
    return [
        (suite, cell)
        for name in order
        for cell in results.cells
        for suite in cell.suites
        if suite.name == name
    ]


def suite_verdict(suite: SuiteCounts) -> str:
    """`failed`, `too few` or `passed`: what the suite by itself says."""
    if suite.tests.failed or suite.tests.errors:
        return "failed"
    return "too few" if suite.tests.executed < max(1, suite.required) else "passed"


def broken_checks(cell: Cell) -> list[Check]:
    """The checks of a cell that failed or ended in an error."""
    return [check for check in cell.checks if check.status in ("failed", "error")]


def duration(seconds: float | None) -> str:
    """Seconds for people, a dash where not measured."""
    return "-" if seconds is None else format_seconds(seconds)


def summary_markdown(results: Results) -> str:
    """The whole of `summary.md`."""
    return "\n".join(_markdown(results)) + "\n"


def _markdown(results: Results) -> Iterator[str]:
    yield f"# {results.verdict}: {_cell_text(results.reason)}"
    yield ""
    if results.image.path:
        yield f"- Image: `{results.image.path}` ({_image(results)})"
    else:
        yield f"- Image: none{f'; it serves {results.image.model}' if results.image.model else ''}"
    if results.image.sha256:
        yield f"- sha256: `{results.image.sha256}`"
    host = results.host
    yield f"- Host: {host.cpu}, {host.cores} cores, {host.ram_mib} MiB"
    why = f" ({_cell_text(host.accelerator_reason)})" if host.accelerator_reason else ""
    yield f"- Machine: {machines_of(results)}{why}"
    yield f"- Started {results.started}, took {format_seconds(results.wall_s)}" + (
        f", commit `{results.commit}`" if results.commit else ""
    )
    yield ""
    yield "| cell | machine | verdict | passed | failed | errors | skipped | boot | ready | checks |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for cell in results.cells:
        tests, timings = cell.tests, cell.timings
        yield (
            f"| {cell.name} | {machine_label(cell)} | {cell.verdict} | {tests.passed} | {tests.failed} | "
            f"{tests.errors} | {tests.skipped} | {duration(timings.boot_s)} | {duration(timings.ready_s)} | "
            f"{duration(timings.suite_s)} |"
        )
    if rows := suite_rows(results):
        yield from ("", "| suite | cell | passed | failed | skipped | required | took |")
        yield "|---|---|--:|--:|--:|--:|--:|"
        for suite, cell in rows:
            broken = suite.tests.failed + suite.tests.errors
            yield (
                f"| {suite.name} | {cell.name} | {suite.tests.passed} | {broken} | {suite.tests.skipped} | "
                f"{suite.required} | {format_seconds(suite.seconds)} |"
            )
    if any(cell.machine == "nspawn" for cell in results.cells):
        yield from ("", CONTAINER_NOTE)
    for cell in results.cells:
        yield from _cell_markdown(cell)


def _cell_markdown(cell: Cell) -> Iterator[str]:
    if cell.verdict != "PASS":
        yield from ("", f"## {cell.name}: {cell.verdict}", "", _cell_text(cell.reason), "", f"`{cell.rerun}`")
    if cell.fault:
        yield from ("", f"## {cell.name}: infrastructure", "", _cell_text(cell.fault))
    broken = broken_checks(cell)
    if broken:
        yield from ("", f"## {cell.name}: failed checks", "")
        for check in broken:
            yield f"- {topic(check.file)}: {_cell_text(check.title)}: {_cell_text(check.message)}"
            yield f"  `{rerun_check(cell.rerun, check.id)}`"
    yield from _measured_markdown(cell)


def _measured_markdown(cell: Cell) -> Iterator[str]:
    """All metrics of a cell; of a benchmark, which has hundreds, the speeds in a table and what is judged."""
    rows = speed_rows(cell)
    if rows:
        yield from ("", f"## {cell.name}: {TITLE[0].lower()}{TITLE[1:]}", "", CAPTION, "")
        yield f"| prompt tokens | {' | '.join(column.heading for column in COLUMNS)} |"
        yield f"|--:|{'--:|' * len(COLUMNS)}"
        for row in rows:
            values = ("-" if value is None else with_interval(value) for value in row.values)
            yield f"| {row.prompt_tokens} | {' | '.join(values)} |"
    told = [one for one in cell.metrics if one.target is not None] if rows else list(cell.metrics)
    if told:
        yield from ("", f"## {cell.name}: {'targets' if rows else 'measured'}", "")
        yield "| metric | value | target | verdict | why |"
        yield "|---|---|---|---|---|"
        for one in told:
            verdict = (one.verdict or "") if one.target is not None or not one.reason else "measured only"
            why = _cell_text(one.reason) if one.target is not None and one.verdict != "PASS" else ""
            yield f"| {_cell_text(one.title)} | {with_interval(one)} | {target(one)} | {verdict} | {why} |"
    if left := len(cell.metrics) - len(told):
        yield from ("", f"{left} more in results.json, and in the CSV of report.html.")


def _cell_text(text: str) -> str:
    """One line that can stand in a table or a list."""
    return " ".join(text.split()).replace("|", "\\|")


def _image(results: Results) -> str:
    image = results.image
    engine = f"{image.engine} {image.engine_version}".strip()
    flavor = f"flavor {image.flavor}" if image.flavor else ""
    unpinned = f"{len(image.unpinned)} unpinned parts" if image.unpinned else ""
    on = f"{flavor} on {image.base}" if flavor and image.base else flavor
    facts = [on, engine, image.model, unpinned]
    return ", ".join(fact for fact in facts if fact) or "contents unknown"


def summary_table(results: Results) -> Table:
    """The cells as a table that fits a terminal of 80 columns; where a cell has several suites, one row more
    for each. The machine stands in it where it isn't the same for all cells."""
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    mixed = len({cell.machine for cell in results.cells}) > 1
    table.add_column("cell", overflow="fold")  # the one column that may be long, so the one that may wrap
    for heading in (*(["machine"] if mixed else []), "verdict"):
        table.add_column(heading, no_wrap=True)
    for heading in ("passed", "failed", "skipped", *([] if mixed else ["ready"]), "checks"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cell in results.cells:
        label = SHORT.get(cell.machine, cell.machine)
        table.add_row(
            cell.name,
            *([label] if mixed else []),
            Text(cell.verdict, style=VERDICT_STYLE[cell.verdict]),
            *_counts(cell.tests),
            *([] if mixed else [duration(cell.timings.ready_s)]),
            duration(cell.timings.suite_s),
        )
        for suite in cell.suites if len(cell.suites) > 1 else ():
            table.add_row(
                f"  {suite.name}",
                *([""] if mixed else []),
                Text(suite_verdict(suite), style="dim"),
                *_counts(suite.tests),
                *([] if mixed else [""]),
                duration(suite.seconds),
            )
    return table


def _counts(tests: Counts) -> tuple[str, Text, Text]:
    broken = tests.failed + tests.errors
    return (
        str(tests.passed),
        Text(str(broken), style="red" if broken else ""),
        Text(str(tests.skipped), style="yellow" if tests.skipped else ""),
    )


def failure_lines(results: Results) -> list[str]:
    """One line for each cell without a PASS and for each failed check, each followed by the command that runs
    it again."""
    lines = []
    for cell in results.cells:
        if cell.verdict != "PASS":
            mark = "✗" if cell.verdict == "FAIL" else "?"
            lines += [f"{mark} {cell.name}: {cell.verdict}: {cell.reason}", f"    {cell.rerun}"]
        for check in broken_checks(cell):
            first = check.message.splitlines()[0] if check.message else check.status
            lines.append(f"✗ {cell.name}: {topic(check.file)}: {check.title}: {first}")
            lines.append(f"    {rerun_check(cell.rerun, check.id)}")
    return lines
