"""What a cell leaves on disk while it runs, so that a killed run still has results.

`tests.jsonl` gets a line when a check starts and one when it ends; `cell.json` is the cell's facts, written
whole each time they change.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.redaction import REDACTOR
from harness.results.model import CellTimings, Check, Label, Metric, metric_from_json, write_whole

TESTS_FILE = "tests.jsonl"
CELL_FILE = "cell.json"
ONLY_INSIDE = "not_measurable_from_outside"
"""Of a cell's conditions: what a benchmark at an endpoint leaves out, in words."""
LONGEST_DETAILS = 20_000
"""Characters of a failure's long text that are kept: its beginning and its end."""


def accelerator_before_boot(machine: str, asked_for: str) -> str:
    """What is known of the accelerator until the machine tells: a container runs natively."""
    return {"qemu": asked_for, "endpoint": "unknown"}.get(machine, "native")


@dataclass(frozen=True)
class CellFacts:
    """The content of `cell.json`. `finished` is False until all checks have run. `left_out` says which checks
    were not even collected, "" when all were."""

    profile: str
    tls_mode: str
    machine: str
    accelerator: str
    finished: bool = False
    fault: str = ""
    boot_failure: str = ""
    timings: CellTimings = dataclasses.field(default_factory=CellTimings)
    guest: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    conditions: Mapping[str, Label] = dataclasses.field(default_factory=dict)
    left_out: str = ""


class TestLog:
    """Appends to `tests.jsonl`, each line redacted and flushed at once."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(self, folder: Path) -> None:
        self._file = (folder / TESTS_FILE).open("w", encoding="utf-8")

    def started(self, check_id: str, title: str) -> None:
        """A check begins."""
        self._write({"event": "start", "id": check_id, "title": title})

    def ended(self, check: Check) -> None:
        """A check is over."""
        shortened = dataclasses.replace(check, details=shorten(check.details))
        self._write({"event": "end", **dataclasses.asdict(shortened)})

    def _write(self, record: Mapping[str, Any]) -> None:
        # Redacted as values, before JSON: no mask can then break a line's syntax.
        clean = {key: REDACTOR.redact(one) if isinstance(one, str) else one for key, one in record.items()}
        self._file.write(json.dumps(clean, ensure_ascii=True) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing more will be written."""
        self._file.close()


def shorten(text: str, limit: int = LONGEST_DETAILS) -> str:
    """The text, or its beginning and end with a line between that says how much is missing."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


@dataclass(frozen=True)
class RecordedTests:
    """What `tests.jsonl` tells: the ended checks, and the one that was running when it stopped."""

    checks: tuple[Check, ...]
    running_id: str = ""
    running_title: str = ""


def read_tests(folder: Path) -> RecordedTests:
    """Read `tests.jsonl` as far as it goes: a missing file is no checks, a torn last line is ignored."""
    checks: list[Check] = []
    running = ("", "")
    try:
        lines = (folder / TESTS_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:  # the process was killed while it wrote this line
            break
        event = record.pop("event")
        if event == "start":
            running = (record["id"], record["title"])
        else:
            checks.append(Check(**record))
            if record["id"] == running[0]:  # the harness's own check at the end has no start
                running = ("", "")
    return RecordedTests(tuple(checks), *running)


def write_cell(facts: CellFacts, folder: Path) -> None:
    """Write `cell.json`. Raises HarnessError when the disk refuses."""
    text = json.dumps(dataclasses.asdict(facts), indent=1, ensure_ascii=True, allow_nan=False)
    write_whole(folder / CELL_FILE, REDACTOR.redact(text) + "\n")


def read_cell(folder: Path) -> CellFacts | None:
    """Read `cell.json`; None when the cell never got as far as writing one."""
    try:
        plain = json.loads((folder / CELL_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    plain["timings"] = CellTimings(**plain["timings"])
    plain["metrics"] = tuple(metric_from_json(one) for one in plain["metrics"])
    return CellFacts(**plain)
