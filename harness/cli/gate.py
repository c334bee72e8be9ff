"""`slm gate`: may this image be released?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import terminal
from harness.errors import HarnessError
from harness.gate.evidence import find_runs, read_runs
from harness.gate.judge import Answer, judge_image
from harness.gate.rules import GATE_FILE, load_rules
from harness.gate.subject import Subject, load_subject
from harness.gate.table import answer_lines, answer_table
from harness.image.artifacts import load_artifacts
from harness.image.build import image_key
from harness.image.flavor import load_flavor, with_engine
from harness.locations import images
from harness.results.folder import reports_root
from harness.results.model import read_results
from harness.results.publish import RESULTS_FILE
from harness.results.summary import VERDICT_STYLE
from harness.results.verdict import exit_code


@dataclass(frozen=True)
class GateRequest:
    """What `slm gate` was asked for. `image` None: the one that the results name, else the flavor's newest in
    the cache, which is not built. `results` (): every run in the folder of reports."""

    image: Path | None = None
    flavor: str = "ci"
    base: str = ""
    engine: str = ""
    results: tuple[Path, ...] = ()
    rules: Path = GATE_FILE


def run(request: GateRequest) -> int:
    """Print the table and the answer; returns its exit code: 0 PASS, 1 FAIL, 3 INCONCLUSIVE.

    Raises HarnessError (exit code 2) where there is no image, no results, or what can't be read.
    """
    answer = ask(request)
    show(answer)
    return exit_code(answer.verdict, fault=False, interrupted=False)


def ask(request: GateRequest, *, now: datetime | None = None) -> Answer:
    """The gate's answer to a request. Raises HarnessError as `run` does."""
    rules = load_rules(request.rules)
    paths = tuple(results_file(path) for path in request.results)
    with terminal.step("Look at the image"):
        subject = load_subject(chosen_image(request, paths))
    paths = paths or runs_of(subject)
    time = now or datetime.now(UTC)
    of_flavor = rules.get(subject.image.flavor)
    if of_flavor is None:
        return judge_image(subject, None, (), now=time)
    return judge_image(subject, of_flavor, read_runs(paths, subject, of_flavor, now=time), now=time)


def show(answer: Answer) -> None:
    """Print the table, what was set aside, the verdict and its reasons."""
    if answer.rows:
        terminal.say("")
        terminal.render(answer_table(answer))
        terminal.say("")
    for line in answer_lines(answer):
        terminal.say(line, VERDICT_STYLE[answer.verdict] if line.startswith(answer.verdict) else "")


def chosen_image(request: GateRequest, results: tuple[Path, ...]) -> Path:
    """The image that is asked about. Raises HarnessError where there is none."""
    if request.image is not None:
        return request.image
    if results:
        path = Path(read_results(results[0]).image.path)
        if not path.is_file():
            raise HarnessError(
                f"{results[0]} judged {path}, which isn't there", hint="name the image: make gate IMAGE=..."
            )
        return path
    flavor = with_engine(load_flavor(request.flavor, base=request.base), request.engine)
    path = images() / image_key(flavor, load_artifacts()) / f"slm-copilot-{flavor.name}.qcow2"
    if not path.is_file():
        raise HarnessError(
            f"no image of flavor {flavor.name} on {flavor.base} is built from this checkout",
            hint="build and judge it with: make test-image; or name one: make gate IMAGE=...",
        )
    return path


def runs_of(subject: Subject) -> tuple[Path, ...]:
    """The runs in the folder of reports that say they judged this image. Raises HarnessError for none."""
    found = find_runs(reports_root(), subject.sha256)
    if not found:
        raise HarnessError(
            f"no run in {reports_root()} has judged this image (sha256 {subject.sha256[:16]}...)",
            hint=f"make test-image IMAGE={subject.image.path} SUITES=all; or: make gate RESULTS=...",
        )
    return found


def results_file(path: Path) -> Path:
    """The results of a run, by its folder too."""
    return path / RESULTS_FILE if path.is_dir() else path
