"""`slm bench-compare`: two runs of the benchmarks, or two images, held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness import terminal
from harness.bench.compare import DEFAULT_THRESHOLD, Comparison, compare
from harness.bench.comparison_page import comparison_html
from harness.bench.comparison_table import comparison_lines, comparison_table
from harness.cli.compare_images import ImagesRequest, compare_images, is_image
from harness.errors import HarnessError
from harness.redaction import REDACTOR
from harness.results.folder import reports_root
from harness.results.model import Results, read_results, write_whole
from harness.results.publish import RESULTS_FILE

PLOT_FILE = "bench-compare.html"


@dataclass(frozen=True)
class CompareRequest:
    """What `slm bench-compare` was asked for; `threshold` as a share, `plot` None for the default place. The
    rest is for two images."""

    before: Path | None
    after: Path | None
    threshold: float = DEFAULT_THRESHOLD
    plot: Path | None = None
    profile: str = "ci"
    machine: str = "qemu"
    accelerator: str = "auto"


def run(request: CompareRequest) -> int:
    """Print the table, draw the plot. Returns 1 when a metric got worse by more than the threshold, 3 when
    nothing could be told, else 0. Raises HarnessError for what are no two runs with metrics in common, and no
    two images."""
    if request.before is None or request.after is None:
        raise HarnessError(
            "two runs are needed to compare, or two images",
            hint="make bench-compare A=results.json B=other/results.json",
        )
    if is_image(request.before) and is_image(request.after):
        images = ImagesRequest(
            request.before,
            request.after,
            request.profile,
            request.machine,
            request.accelerator,
            request.threshold,
        )
        return show(compare_images(images), request.plot)
    for one, other in ((request.before, request.after), (request.after, request.before)):
        if is_image(one):
            raise HarnessError(
                f"{one} is an image and {other} is none",
                hint="give two images, or the results.json of two runs",
            )
    before, after = (read_results(results_file(path)) for path in (request.before, request.after))
    comparison = compare(
        before,
        after,
        names=(described(request.before, before), described(request.after, after)),
        threshold=request.threshold,
    )
    return show(comparison, request.plot)


def show(comparison: Comparison, plot: Path | None) -> int:
    """Print and draw a comparison; its exit code."""
    terminal.say(f"A  {comparison.before}")
    terminal.say(f"B  {comparison.after}")
    terminal.render(comparison_table(comparison))
    for line in comparison_lines(comparison):
        terminal.say(line)
    path = plot or reports_root() / PLOT_FILE
    write_whole(path, REDACTOR.redact(comparison_html(comparison)))
    terminal.say(f"plot: {path}")
    return comparison.exit_code


def results_file(path: Path) -> Path:
    """The results of a run, by its folder too."""
    return path / RESULTS_FILE if path.is_dir() else path


def described(path: Path, results: Results) -> str:
    """`reports/x: 2026-01-31T09:45:00Z, image 291c5afc64ed, commit abababababab, AMD EPYC 9554`."""
    facts = (
        results.started,
        f"image {results.image.sha256[:12]}" if results.image.sha256 else "",
        f"commit {results.commit[:12]}" if results.commit else "",
        results.host.cpu,
    )
    return f"{path}: {', '.join(fact for fact in facts if fact)}"
