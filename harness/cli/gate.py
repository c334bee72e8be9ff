"""`slm gate`: may this image be released?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import terminal
from harness.errors import HarnessError
from harness.gate.evidence import find_runs, read_run, read_runs, resolved, runs_in
from harness.gate.judge import Answer, judge_image
from harness.gate.rules import GATE_FILE, load_rules
from harness.gate.subject import Subject, load_subject
from harness.gate.table import answer_lines, answer_table
from harness.image.artifacts import load_artifacts
from harness.image.build import UNKNOWN, image_key
from harness.image.flavor import load_flavor, with_engine
from harness.locations import images
from harness.results.folder import reports_root
from harness.results.publish import RESULTS_FILE
from harness.results.summary import VERDICT_STYLE
from harness.results.verdict import exit_code

ANY_FLAVOR = "ci"
"""Flavor of the image that is looked for in the cache where none is named. An image that is named may be of
another one: make always says this word, asked or not."""


@dataclass(frozen=True)
class GateRequest:
    """What `slm gate` was asked for. `image` None: the one that the results name, else the flavor's newest in
    the cache, which is not built. `results` (): every run in the folder of reports; else results.json files,
    folders of a run, or folders of runs. An image that is named must be of this base and engine where they
    aren't "", and of this flavor unless that is ANY_FLAVOR: whoever names none means the image's own."""

    image: Path | None = None
    flavor: str = ANY_FLAVOR
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
    named = tuple(one for path in request.results for one in named_runs(path))
    image = chosen_image(request, named)
    with terminal.step("Look at the image"):
        subject = load_subject(image)
    require_asked(request, subject)
    paths = runs_that_count(named, subject)
    for line in left_out(paths, subject) if named else ():
        terminal.say(line, "yellow")
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


@dataclass(frozen=True)
class Named:
    """A results.json that was asked for; `by_folder`: as one of all in a folder of runs, not by itself."""

    path: Path
    by_folder: bool


def named_runs(path: Path) -> tuple[Named, ...]:
    """The runs that a path means: a results.json, the folder of a run, or a folder of runs."""
    path = resolved(path)
    if not path.exists():
        raise HarnessError(
            f"no results at {path}",
            hint="RESULTS= takes results.json files, folders of a run, and folders of runs, by blanks; "
            "a path with a blank in it needs quotes",
        )
    if not path.is_dir():
        return (Named(path, by_folder=False),)
    if (path / RESULTS_FILE).exists():
        return (Named(path / RESULTS_FILE, by_folder=False),)
    if found := runs_in(path):
        return tuple(Named(one, by_folder=True) for one in found)
    raise HarnessError(
        f"no results in {path}: neither {RESULTS_FILE} nor a folder with one",
        hint="make test-image writes the folders of runs into reports/",
    )


def chosen_image(request: GateRequest, named: tuple[Named, ...]) -> Path:
    """The image that is asked about. Raises HarnessError where there is none."""
    if request.image is not None:
        return request.image
    if named:
        return _judged_image(named)
    flavor = with_engine(load_flavor(request.flavor, base=request.base), request.engine)
    what = f"no image of flavor {flavor.name} on {flavor.base} is built from this checkout"
    try:
        path = images() / image_key(flavor, load_artifacts()) / f"slm-copilot-{flavor.name}.qcow2"
    except HarnessError as error:
        # Something that it would be made of isn't there.
        raise HarnessError(
            f"{what}: {error.message}", hint=f"{error.hint}; or name an image: make gate IMAGE=..."
        ) from None
    if not path.is_file():
        raise HarnessError(
            what, hint="build and judge it with: make test-image; or name one: make gate IMAGE=..."
        )
    return path


def _judged_image(named: tuple[Named, ...]) -> Path:
    """The image that results judged. One result that is named by itself says which; a folder of many must
    agree."""
    first = read_run(next((one for one in named if not one.by_folder), named[0]).path)
    judged = first.results.image
    if all(one.by_folder for one in named) and any(
        read_run(one.path).results.image.sha256 != judged.sha256 for one in named
    ):
        raise HarnessError(
            f"the runs in {named[0].path.parent.parent} judged several images",
            hint="name the one that is meant: make gate IMAGE=...",
        )
    path = Path(judged.path)
    if not path.is_file():
        raise HarnessError(
            f"{first.path} judged {path}, which isn't there", hint="name the image: make gate IMAGE=..."
        )
    return path


def require_asked(request: GateRequest, subject: Subject) -> None:
    """Raises HarnessError where the image is of another flavor, base or engine than was asked for: its PASS
    would be taken for that of another one."""
    asked = {
        "flavor": "" if request.flavor == ANY_FLAVOR else request.flavor,
        "base": request.base,
        "engine": request.engine,
    }
    for what, wanted in asked.items():
        own = getattr(subject.image, what)
        if wanted and own not in (wanted, UNKNOWN):
            raise HarnessError(
                f"{subject.image.path} is of {what} {own}, {what} {wanted} was asked for",
                hint=f"name another image, or leave {what.upper()}= out",
            )


def runs_that_count(named: tuple[Named, ...], subject: Subject) -> tuple[Path, ...]:
    """The runs that were named, those of a folder only where they judged this image; else those in the folder
    of reports. Raises HarnessError where there is none."""
    by_themselves = tuple(one.path for one in named if not one.by_folder)
    folders = tuple(dict.fromkeys(one.path.parent.parent for one in named if one.by_folder))
    if not named:
        folders = (reports_root(),)
    found = (*by_themselves, *(path for folder in folders for path in find_runs(folder, subject.sha256)))
    if not found:
        raise HarnessError(
            f"no run in {', '.join(map(str, folders))} has judged this image "
            f"(sha256 {subject.sha256[:16]}...){_unreadable(folders)}",
            hint=f"make test-image IMAGE={subject.image.path} SUITES=all; or: make gate RESULTS=...",
        )
    return found


def _unreadable(folders: tuple[Path, ...]) -> str:
    """What might have been such a run."""
    for path in (one for folder in folders for one in runs_in(folder)):
        try:
            read_run(path)
        except HarnessError as error:
            return f"; {error.message}"
    return ""


def left_out(paths: tuple[Path, ...], subject: Subject) -> Iterator[str]:
    """The runs of this image that lie in the folder of reports and weren't asked for."""
    asked = {resolved(path) for path in paths}
    with contextlib.suppress(HarnessError):
        for path in find_runs(reports_root(), subject.sha256):
            if path not in asked:
                results = read_run(path).results
                yield f"left out: {path} judged this image on {results.started}: {results.verdict}"
