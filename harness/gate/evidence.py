"""The runs that speak of an image: found, read, and held to what they must be before they count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.errors import HarnessError
from harness.gate.contradiction import contradiction
from harness.gate.rules import FlavorRules
from harness.gate.subject import Subject
from harness.results.model import Results, read_results
from harness.results.publish import RESULTS_FILE
from harness.results.seal import broken_seal

CLOCK_SLACK = timedelta(minutes=10)
"""How far in the future a run may have started: two hosts' clocks differ."""


@dataclass(frozen=True)
class Run:
    """One run's results and where they are; `doubt` says why nothing in it counts, "" when it does. `untold`:
    it isn't what was once written, so nobody knows what it showed. It may have been a failure."""

    path: Path
    results: Results
    doubt: str = ""
    untold: bool = False

    @property
    def started(self) -> datetime:
        """When the run began, UTC."""
        return datetime.strptime(self.results.started, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def runs_in(folder: Path) -> tuple[Path, ...]:
    """The results.json of every run in a folder of runs, each once, however many links lead to it."""
    return tuple(sorted({resolved(path) for path in folder.glob(f"*/{RESULTS_FILE}")}))


def find_runs(folder: Path, sha256: str) -> tuple[Path, ...]:
    """Those of a folder of runs that say they judged the image of this sha256.

    Raises HarnessError for one that names the image and can't be read: it may tell of a failure.
    """
    return tuple(path for path in runs_in(folder) if _speaks_of(path, sha256))


def _speaks_of(path: Path, sha256: str) -> bool:
    try:
        # Reading results whole takes long; most runs in a folder are of other images.
        if sha256.encode() not in path.read_bytes():
            return False
    except OSError:
        return False
    try:
        return read_run(path).results.image.sha256 == sha256
    except HarnessError as error:
        raise HarnessError(
            f"a run names this image and can't be read: {error.message}",
            hint=f"move {path.parent} away; or name the runs that count: make gate RESULTS=...",
        ) from None


def read_run(path: Path) -> Run:
    """A run as it tells of itself. Raises HarnessError for a file that is no results."""
    try:
        run = Run(path, read_results(path))
    except RecursionError:
        raise HarnessError(f"{path} is no results: it is nested too deep") from None
    try:
        _ = run.started
    except ValueError:
        raise HarnessError(f"{path} is no results: there is no time {run.results.started}") from None
    return run


def read_runs(
    paths: Iterable[Path], subject: Subject, rules: FlavorRules, *, now: datetime
) -> tuple[Run, ...]:
    """The runs in these files, the oldest first, each with what speaks against it.

    Raises HarnessError for a file that isn't results at all.
    """
    runs = [read_run(path) for path in dict.fromkeys(resolved(one) for one in paths)]
    runs.sort(key=lambda one: (one.started, str(one.path)))
    return tuple(_without_copies(_doubted(run, subject, rules, now) for run in runs))


def resolved(path: Path) -> Path:
    """The file that a path leads to. Raises HarnessError for links that lead in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise HarnessError(f"can't read {path}: its symbolic links lead in a circle") from None


def _without_copies(runs: Iterable[Run]) -> Iterator[Run]:
    """The same run in two folders is one run: what passed once must not count twice."""
    first: dict[str, Path] = {}
    for run in runs:
        digest = run.results.seal.sha256 if run.results.seal else ""
        if run.doubt or first.setdefault(digest, run.path) == run.path:
            yield run
        else:
            yield replace(run, doubt=f"is a copy of {first[digest]}")


def _doubted(run: Run, subject: Subject, rules: FlavorRules, now: datetime) -> Run:
    if run.results.image.sha256 != subject.sha256:
        judged = run.results.image.sha256[:12] or "none"
        return replace(run, doubt=f"judged another image ({judged}, not {subject.sha256[:12]})")
    if changed := _broken_seal(run) or contradiction(run.results):
        return replace(run, doubt=changed, untold=True)
    return replace(run, doubt=_foreign(run.results, subject) or _misdated(run, subject, rules, now))


def _broken_seal(run: Run) -> str:
    try:
        return broken_seal(run.path, run.results)
    except OSError as error:
        return f"names files that can't be read: {error.strerror}"
    except ValueError:
        # A number beyond all bounds, half a character: no writer of ours makes them.
        return "was changed after it was written: it holds what JSON can't say"


def _foreign(results: Results, subject: Subject) -> str:
    said, image = results.image, subject.image
    for what, theirs, ours in (
        ("flavor", said.flavor, image.flavor),
        ("base", said.base, image.base),
        ("engine", said.engine, image.engine),
        ("engine version", said.engine_version, image.engine_version),
        ("model", said.model, image.model),
    ):
        if theirs != ours:
            return f"says {what} {theirs}, the image's own papers say {ours}"
    if set(said.unpinned) != set(image.unpinned):
        return "names other unpinned parts than the image's own papers"
    # The guest itself says what flavor it is; papers beside an image can be swapped.
    for cell in results.cells:
        told = cell.guest.get("SLM_FLAVOR", image.flavor)
        if told != image.flavor:
            return f"had a guest of flavor {told} in {cell.name}, not {image.flavor}"
    return ""


def _misdated(run: Run, subject: Subject, rules: FlavorRules, now: datetime) -> str:
    """A time or a checkout that no judgement of this image can have."""
    started, commit = run.results.started, run.results.commit
    if run.started > now + CLOCK_SLACK:
        return f"starts in the future ({started})"
    if subject.built is not None and run.started + CLOCK_SLACK < subject.built:
        return f"started ({started}) before the image was built ({subject.built.isoformat()})"
    if rules.clean_commit and (not commit or commit.endswith("-dirty")):
        return "was made by a checkout with uncommitted changes, or without a commit"
    return ""


def is_stale(run: Run, rules: FlavorRules, now: datetime) -> bool:
    """Whether its passes are too old to count."""
    return now - run.started > timedelta(days=rules.oldest_days)


def believed(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Those against which nothing speaks."""
    return tuple(run for run in runs if not run.doubt)
