"""The runs that speak of an image: found, read, and held to what they must be before they count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.errors import HarnessError
from harness.gate.rules import FlavorRules
from harness.gate.subject import Subject
from harness.results.model import Results, read_results
from harness.results.publish import RESULTS_FILE
from harness.results.seal import broken_seal
from harness.results.verdict import count, count_suites

CLOCK_SLACK = timedelta(minutes=10)
"""How far in the future a run may have started: two hosts' clocks differ."""


@dataclass(frozen=True)
class Run:
    """One run's results and where they are; `doubt` says why nothing in it counts, "" when it does."""

    path: Path
    results: Results
    doubt: str = ""

    @property
    def started(self) -> datetime:
        """When the run began, UTC."""
        return datetime.strptime(self.results.started, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def find_runs(root: Path, sha256: str) -> tuple[Path, ...]:
    """The results.json of every run below `root` that says it judged the image of this sha256; each once,
    however many links lead to it. What can't be read as results is left out: it is another harness's."""
    found = {path.resolve() for path in root.glob(f"*/{RESULTS_FILE}")}
    return tuple(path for path in sorted(found) if _speaks_of(path, sha256))


def _speaks_of(path: Path, sha256: str) -> bool:
    try:
        # Reading results whole takes long; most runs in a folder are of other images.
        if sha256.encode() not in path.read_bytes():
            return False
        return read_results(path).image.sha256 == sha256
    except (HarnessError, OSError):
        return False


def read_runs(
    paths: Iterable[Path], subject: Subject, rules: FlavorRules, *, now: datetime
) -> tuple[Run, ...]:
    """The runs in these files, the oldest first, each with what speaks against it.

    Raises HarnessError for a file that isn't results at all.
    """
    runs = []
    for path in dict.fromkeys(one.resolve() for one in paths):
        run = Run(path, read_results(path))
        runs.append(Run(path, run.results, _doubt(run, subject, rules, now)))
    return tuple(sorted(runs, key=lambda one: (one.started, str(one.path))))


def _doubt(run: Run, subject: Subject, rules: FlavorRules, now: datetime) -> str:
    results, image = run.results, subject.image
    if results.image.sha256 != subject.sha256:
        return f"judged another image ({results.image.sha256[:12] or 'none'}, not {subject.sha256[:12]})"
    if seal := broken_seal(run.path, results):
        return seal
    said = results.image
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
    if other := _other_flavor(results, image.flavor):
        return other
    if run.started > now + CLOCK_SLACK:
        return f"starts in the future ({results.started})"
    if subject.built is not None and run.started + CLOCK_SLACK < subject.built:
        return f"started ({results.started}) before the image was built ({subject.built.isoformat()})"
    if rules.clean_commit and (not results.commit or results.commit.endswith("-dirty")):
        return "was made by a checkout with uncommitted changes, or without a commit"
    return _contradiction(results)


def _other_flavor(results: Results, flavor: str) -> str:
    """The guest itself says what flavor it is; papers beside an image can be swapped."""
    for cell in results.cells:
        told = cell.guest.get("SLM_FLAVOR", flavor)
        if told != flavor:
            return f"had a guest of flavor {told} in {cell.name}, not {flavor}"
    return ""


def _contradiction(results: Results) -> str:
    """Counts that don't follow from the checks they count."""
    for cell in results.cells:
        if count(cell.checks) != cell.tests:
            return f"contradicts itself: the counts of {cell.name} aren't those of its checks"
        recounted = count_suites(cell.checks, {one.name: one.required for one in cell.suites})
        if {one.name: one.tests for one in recounted} != {one.name: one.tests for one in cell.suites}:
            return f"contradicts itself: the suites of {cell.name} aren't those of its checks"
        if cell.verdict == "PASS" and (cell.tests.failed or cell.tests.errors):
            return f"contradicts itself: {cell.name} is PASS with failed checks"
    return ""


def is_stale(run: Run, rules: FlavorRules, now: datetime) -> bool:
    """Whether its passes are too old to count."""
    return now - run.started > timedelta(days=rules.oldest_days)


def believed(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Those against which nothing speaks."""
    return tuple(run for run in runs if not run.doubt)
