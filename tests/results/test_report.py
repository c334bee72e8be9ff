"""report.html, summary.md and the table: complete, escaped, without any external part."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from sample import CELL, MATRIX, RESULTS

from harness.results.machine_label import machines_of
from harness.results.measured_text import measured_lines
from harness.results.model import CellTimings
from harness.results.publish import publish, render
from harness.results.report import boot_segments, report_html, slowest
from harness.results.rerun import make_command, rerun_check
from harness.results.summary import (
    failure_lines,
    suite_rows,
    summary_markdown,
    summary_table,
)


class Page(HTMLParser):
    """Collects links, ids and the order of open elements."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [value for name in ("href", "src") if (value := values.get(name)) is not None]
        if (identity := values.get("id")) is not None:
            self.ids.append(identity)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_element_is_closed_and_every_id_is_unique() -> None:
    page = Page(report_html(RESULTS))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = report_html(RESULTS)
    for address in Page(text).addresses:
        assert re.match(r"#|cells/|data:text/csv;base64,|results\.json$|junit\.xml$|summary\.md$", address), (
            address
        )
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_texts_are_escaped() -> None:
    text = report_html(RESULTS)
    assert "<script>alert(1)</script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_what_people_look_for_is_there() -> None:
    text = report_html(RESULTS)
    for wanted in (
        "✗ FAIL",
        "1 of 4 executed checks failed",
        "AMD EPYC 9B14",
        "a wrong password is refused on every route [GET /v1/models]",
        "node is not installed on this host",
        ">1.85 tok/s<",
        ">1.79 to 1.9<",
        ">210 ms<",
        ">200 to 400<",
        "power-on to SSH 21.4 s",
        'href="cells/ci-selfsigned/console.log"',
        "prefers-color-scheme: dark",
        'name="viewport"',
    ):
        assert wanted in text, wanted


def test_a_run_without_cells_has_a_report_too() -> None:
    empty = dataclasses.replace(RESULTS, verdict="INCONCLUSIVE", reason="no disk", fault="no disk", cells=())
    assert "No cell was run." in report_html(empty)
    assert "INCONCLUSIVE: no disk" in summary_markdown(empty)


def test_boot_bars_need_measured_times() -> None:
    segments = boot_segments(CELL, 50.0)
    assert [(round(one.start, 1), round(one.width, 1)) for one in segments] == [(0.0, 42.8), (42.8, 35.0)]
    unmeasured = dataclasses.replace(CELL, timings=CellTimings())
    assert boot_segments(unmeasured, 0.0) == []
    bare = dataclasses.replace(unmeasured, checks=())
    assert "<svg" not in report_html(dataclasses.replace(RESULTS, cells=(bare,)))


def test_the_slowest_come_first() -> None:
    assert slowest(CELL)[0].seconds == 74.2
    assert slowest(CELL)[0].width == 100


def test_the_summary_names_each_failed_check_and_how_to_run_it_again() -> None:
    text = summary_markdown(RESULTS)
    assert text.startswith("# FAIL: 1 of 4 executed checks failed\n")
    assert "| ci-selfsigned | qemu, tcg | FAIL | 3 | 1 | 0 | 1 | 21.4 s | 38.9 s | 3 min 51 s |" in text
    assert "- auth: a wrong password is refused on every route [GET /v1/models]:" in text
    assert "TESTS='suites/conformance/test_auth.py::test_two[a|b]'" in text


def test_the_terminal_gets_one_line_a_failed_check() -> None:
    cell, again, first, second = failure_lines(RESULTS)
    assert cell == "✗ ci-selfsigned: FAIL: 1 of 4 executed checks failed"
    assert again.strip() == CELL.rerun
    assert first.endswith("[GET /v1/models]: AssertionError: 200 for GET /v1/models with a wrong password")
    assert second.strip().startswith("make test-image IMAGE=")


def test_a_cell_without_a_verdict_says_how_to_run_it_again_too() -> None:
    lines = failure_lines(MATRIX)
    assert "? ci-faults: INCONCLUSIVE: only 2 checks of suite faults were executed" in lines
    assert any(line.strip().endswith("CELLS=ci-faults") for line in lines)
    assert "CELLS=ci-faults`" in summary_markdown(MATRIX)


def test_each_suite_is_counted_in_each_of_its_cells() -> None:
    rows = [(suite.name, cell.name) for suite, cell in suite_rows(MATRIX)]
    assert rows == [
        ("conformance", "ci-selfsigned"),
        ("conformance", "ci-custom"),
        ("conformance", "ci-letsencrypt"),
        ("letsencrypt", "ci-letsencrypt"),
        ("letsencrypt", "recommended-letsencrypt"),
        ("lifecycle", "ci-lifecycle"),
        ("lifecycle", "ci-lifecycle-vm"),
        ("faults", "ci-faults"),
        ("powercut", "ci-powercut"),
    ]
    text = summary_markdown(MATRIX)
    assert "| letsencrypt | ci-letsencrypt | 24 | 0 | 0 | 20 | 60.5 s |" in text
    assert "| conformance | ci-selfsigned | 2 | 1 | 1 | 120 | 75.0 s |" in text
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", report_html(MATRIX)))
    assert "letsencrypt ci-letsencrypt passed 24 0 0 20 60.5 s" in page
    assert "faults ci-faults too few 2 0 1 10 9.0 s" in page


def test_a_container_is_called_one_and_says_what_counts() -> None:
    for text in (report_html(MATRIX), summary_markdown(MATRIX)):
        assert "container, not VM" in text
        assert "the verdict that counts for conformance is QEMU" in text
    assert "container" not in summary_markdown(RESULTS)


def test_the_header_names_the_machines_that_the_cells_ran_in() -> None:
    assert machines_of(RESULTS) == "qemu, tcg"
    assert machines_of(MATRIX) == "qemu, tcg; container, not VM"
    assert machines_of(dataclasses.replace(RESULTS, cells=())) == "qemu, tcg"
    only = dataclasses.replace(RESULTS, cells=(MATRIX.cells[3],))
    assert "- Machine: container, not VM (" in summary_markdown(only)
    assert "<dt>machine</dt><dd>container, not VM" in report_html(only)


def test_a_page_of_the_whole_matrix_is_whole() -> None:
    page = Page(report_html(MATRIX))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_the_table_fits_80_columns() -> None:
    console = Console(width=80, color_system=None)
    longest = dataclasses.replace(CELL, verdict="INCONCLUSIVE")
    with console.capture() as captured:
        console.print(summary_table(dataclasses.replace(RESULTS, cells=(longest,))))
    printed = captured.get()
    assert "…" not in printed
    for wanted in ("ci-selfsigned", "INCONCLUSIVE", "38.9 s", "3 min 51 s"):
        assert wanted in printed
    with console.capture() as captured:
        console.print(summary_table(MATRIX))
    printed = captured.get()
    assert "…" not in printed
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80
    for wanted in ("ci-lifecycle-vm", "container", "INCONCLUSIVE", "  letsencrypt", "2 min 41 s"):
        assert wanted in printed
    assert measured_lines(CELL) == [("ci-selfsigned: decode 1.85 tok/s (1.79 to 1.9) (qemu, tcg)", "")]


def test_publishing_and_drawing_again(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "run"
    published = publish(RESULTS, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["junit.xml", "report.html", "results.json", "summary.md"]
    assert (tmp_path / "reports" / "latest").resolve() == folder
    before = published.report.read_text()
    published.report.unlink()
    render(RESULTS, folder)
    assert published.report.read_text() == before


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({"IMAGE": "", "MACHINE": "qemu"}, "make test-image MACHINE=qemu"),
        ({"IMAGE": "/a b/c.qcow2"}, "make test-image IMAGE='/a b/c.qcow2'"),
        ({"TESTS": "auth and not $x"}, "make test-image TESTS='auth and not $$x'"),
    ],
)
def test_commands_survive_the_shell_and_make(variables: dict[str, str], command: str) -> None:
    assert make_command("test-image", variables) == command


def test_the_harness_own_check_is_run_again_with_its_cell() -> None:
    assert rerun_check("make test-image", "harness::nothing_secret") == "make test-image"
