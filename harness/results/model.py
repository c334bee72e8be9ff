"""The results of a run (`results.json`): frozen dataclasses, read and written through a JSON schema."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import HarnessError

if TYPE_CHECKING:
    import jsonschema

SCHEMA_VERSION = 1

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
CheckStatus = Literal["passed", "failed", "skipped", "error"]
Better = Literal["higher", "lower", ""]
Label = str | int | float


@dataclass(frozen=True)
class ImageFacts:
    """The image that was judged. What its sidecar doesn't tell is "". `unpinned` are the parts it was made of
    whose hash appliance/artifacts.yaml doesn't have, each as `FILE sha256:HASH`: nobody has vouched for
    them."""

    path: str
    sha256: str
    flavor: str
    engine: str
    engine_version: str
    model: str
    base: str = ""
    unpinned: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostFacts:
    """Where it ran: processor name, usable logical cores, RAM in MiB, kernel release."""

    cpu: str
    cores: int
    ram_mib: int
    kernel: str
    accelerator: str
    accelerator_reason: str
    machine: str


@dataclass(frozen=True)
class Check:
    """One check of a cell. `title` is a sentence, `file` the suite's file; `message` is the short reason of a
    failure or a skip, `details` the long text (traceback, captured output). Seconds are of set-up, call and
    tear-down together."""

    id: str
    file: str
    title: str
    status: CheckStatus
    seconds: float
    message: str = ""
    details: str = ""


@dataclass(frozen=True)
class Counts:
    """How many checks ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    errors: int = 0

    @property
    def executed(self) -> int:
        """Checks that ran: all but the skipped ones."""
        return self.passed + self.failed + self.errors


@dataclass(frozen=True)
class SuiteCounts:
    """What became of one suite in a cell; `required` is how many of its checks had to be executed, `seconds`
    what they took together."""

    name: str
    tests: Counts
    seconds: float
    required: int


@dataclass(frozen=True)
class CellTimings:
    """Seconds, None where not measured. `boot_s`: power-on until SSH answers; `configure_s`: the appliance's
    configure stage as the guest tells it; `ready_s`: power-on until the loaded model answered a completion;
    `suite_s`: all checks, without the boot."""

    boot_s: float | None = None
    configure_s: float | None = None
    ready_s: float | None = None
    suite_s: float | None = None


@dataclass(frozen=True)
class Metric:
    """One measured value; `name` and `labels` together say which. `n` is the number of repetitions, `samples`
    are their values in the order of measuring, in `unit`, and `outliers` the places of those that stand out:
    they are flagged, never dropped. A metric without target has no verdict; `reason` says in words why the
    verdict is what it is. `better` is the direction in which it improves, "" where it has none; `formula`
    says how the value comes from the samples or from what was measured.

    `labels` are the axes of a measurement: path, prompt_tokens, depth, clients, state, threads, statistic.
    """

    name: str
    unit: str
    value: float
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    target: float | None = None
    verdict: Verdict | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    samples: tuple[float, ...] = ()
    outliers: tuple[int, ...] = ()
    reason: str = ""
    better: Better = ""
    formula: str = ""

    @property
    def title(self) -> str:
        """The name with its labels, as people see it: `ttft (path appliance, prompt_tokens 512)`."""
        told = ", ".join(f"{name} {value}" for name, value in self.labels.items())
        return f"{self.name} ({told})" if told else self.name

    def is_same_as(self, other: Metric) -> bool:
        """Whether both are values of one metric: the same name and the same labels."""
        return self.name == other.name and dict(self.labels) == dict(other.labels)


def metric_from_json(plain: Mapping[str, Any]) -> Metric:
    """A metric from its plain form; that of an older file has no labels, samples and so on."""
    places = {name: tuple(plain[name]) for name in ("samples", "outliers") if name in plain}
    return Metric(**{**plain, **places})


@dataclass(frozen=True)
class Cell:
    """One profile in one TLS mode on one machine: what was run, what came out, where its files are.

    `conditions` is what it was measured under: processor and flags, governor, frequency, steal, cores that
    others used. {} where nothing was measured.
    `fault` says what of the infrastructure broke ("" when nothing did). `evidence` and `files` are relative
    to the folder of `results.json`. `rerun` is the command line that runs this cell again."""

    name: str
    profile: str
    tls_mode: str
    machine: str
    accelerator: str
    verdict: Verdict
    reason: str
    fault: str
    interrupted: bool
    tests: Counts
    timings: CellTimings
    metrics: tuple[Metric, ...]
    checks: tuple[Check, ...]
    guest: Mapping[str, str]
    rerun: str
    evidence: str
    files: tuple[str, ...]
    suites: tuple[SuiteCounts, ...] = ()
    conditions: Mapping[str, Label] = field(default_factory=dict)


@dataclass(frozen=True)
class RunTimings:
    """Seconds of the run's phases: getting (building, finding) the image, and all cells."""

    image_s: float
    cells_s: float


@dataclass(frozen=True)
class Seal:
    """Digests that harness.results.seal makes and checks. `sha256`: of the results' content without the seal,
    and of `files`: sha256 by path relative to the folder of `results.json`."""

    sha256: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Results:
    """One run. `started` is UTC in ISO 8601; `wall_s` seconds; `commit` the checkout's git commit or ""."""

    verdict: Verdict
    reason: str
    fault: str
    interrupted: bool
    image: ImageFacts
    host: HostFacts
    cells: tuple[Cell, ...]
    suites: tuple[str, ...]
    selection: str
    started: str
    wall_s: float
    timings: RunTimings
    commit: str
    command: str
    schema_version: int = field(default=SCHEMA_VERSION)
    seal: Seal | None = None


def to_json(results: Results) -> dict[str, Any]:
    """The plain form of results, as it stands in `results.json`."""
    plain = dataclasses.asdict(results)
    return {"schema_version": plain.pop("schema_version"), **plain}


def from_json(plain: Mapping[str, Any]) -> Results:
    """Results from their plain form. Raises jsonschema.ValidationError when it isn't of this schema."""
    validator().validate(plain)
    fields = dict(plain)
    unpinned = tuple(plain["image"].get("unpinned", ()))
    fields["image"] = ImageFacts(**{**plain["image"], "unpinned": unpinned})
    fields["host"] = HostFacts(**plain["host"])
    fields["timings"] = RunTimings(**plain["timings"])
    fields["suites"] = tuple(plain["suites"])
    fields["cells"] = tuple(_cell(one) for one in plain["cells"])
    fields["seal"] = Seal(**plain["seal"]) if plain.get("seal") else None
    return Results(**fields)


def _cell(plain: Mapping[str, Any]) -> Cell:
    fields = dict(plain)
    fields["tests"] = Counts(**plain["tests"])
    fields["timings"] = CellTimings(**plain["timings"])
    fields["metrics"] = tuple(metric_from_json(one) for one in plain["metrics"])
    fields["checks"] = tuple(Check(**one) for one in plain["checks"])
    fields["files"] = tuple(plain["files"])
    fields["suites"] = tuple(_suite(one) for one in plain.get("suites", ()))
    return Cell(**fields)


def _suite(plain: Mapping[str, Any]) -> SuiteCounts:
    return SuiteCounts(**{**plain, "tests": Counts(**plain["tests"])})


@cache
def validator() -> jsonschema.Draft202012Validator:
    """The validator of `results.schema.json`."""
    # Imported here: every cell's pytest knows the model, and none of them writes results.
    import jsonschema

    text = Path(__file__).with_name("results.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def write_results(results: Results, path: Path) -> None:
    """Validate and write `results.json`, whole or not at all.

    Raises jsonschema.ValidationError (a defect of ours) or HarnessError when the disk refuses.
    """
    # A round trip through JSON first: what is validated is what a reader will see (tuples are lists there).
    text = json.dumps(to_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    validator().validate(json.loads(text))
    write_whole(path, text + "\n")


def read_results(path: Path) -> Results:
    """Read a `results.json`. Raises HarnessError naming the file and what is wrong with it."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise HarnessError(
            f"no results at {path}", hint="run `make test-image` first, or name a results.json"
        ) from None
    except OSError as error:
        raise HarnessError(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:
        raise HarnessError(f"{path} is not JSON: {error}", hint="run `make test-image` again") from None
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if version != SCHEMA_VERSION:
        raise HarnessError(
            f"{path} has schema_version {version!r}; this harness reads {SCHEMA_VERSION}",
            hint="render it with the version of the harness that wrote it, or run `make test-image` again",
        )
    import jsonschema

    try:
        return from_json(plain)
    except jsonschema.ValidationError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "the top level"
        raise HarnessError(
            f"{path} doesn't follow the results schema: at {where}: {error.message[:200]}",
            hint="run `make test-image` again",
        ) from None


def _no_number(word: str) -> None:
    """Python's reader takes NaN and Infinity, which JSON has no word for."""
    raise ValueError(f"{word} is no number")


def write_whole(path: Path, text: str) -> None:
    """Write a text file by way of a temporary one in the same folder, so that no reader sees half of it.

    Raises HarnessError when the disk refuses.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise HarnessError(
            f"can't write {path}: {error.strerror}", hint="check the disk's space and the folder's owner"
        ) from None
