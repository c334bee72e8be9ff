"""Everything that is drawn from a run's results, written beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.results.folder import point_latest_at
from harness.results.junit import junit_xml
from harness.results.model import Results, write_results, write_whole
from harness.results.report import report_html
from harness.results.seal import JUNIT_FILE, sealed
from harness.results.summary import summary_markdown

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Published:
    """Where the files of a run are."""

    results: Path
    junit: Path
    report: Path
    summary: Path


def publish(results: Results, folder: Path, *, latest: bool = True) -> Published:
    """Seal the results, write results.json, junit.xml, report.html and summary.md, and point `latest` at the
    folder.

    Raises HarnessError when the disk refuses.
    """
    write_results(sealed(results, folder, junit_xml(results)), folder / RESULTS_FILE)
    published = render(results, folder)
    if latest:
        point_latest_at(folder)
    return published


def render(results: Results, folder: Path) -> Published:
    """Write what is drawn from the results, but not the results themselves."""
    published = Published(
        folder / RESULTS_FILE, folder / JUNIT_FILE, folder / "report.html", folder / "summary.md"
    )
    write_whole(published.junit, junit_xml(results))
    write_whole(published.report, report_html(results))
    write_whole(published.summary, summary_markdown(results))
    return published
