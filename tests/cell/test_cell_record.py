"""What a cell leaves on disk: readable at any moment, never with a secret."""

import dataclasses
import json
from pathlib import Path

from harness.cell.record import (
    CELL_FILE,
    TESTS_FILE,
    CellFacts,
    TestLog,
    accelerator_before_boot,
    read_cell,
    read_tests,
    shorten,
    write_cell,
)
from harness.redaction import REDACTOR
from harness.results.model import CellTimings, Check, Metric

ONE = Check("a.py::one", "a.py", "one", "passed", 0.5)
TWO = Check("a.py::two", "a.py", "two", "failed", 1.5, "message", "details")


def test_ended_checks_are_read_back(tmp_path: Path) -> None:
    log = TestLog(tmp_path)
    for check in (ONE, TWO):
        log.started(check.id, f"a: {check.title}")
        log.ended(check)
    log.close()
    recorded = read_tests(tmp_path)
    assert recorded.checks == (ONE, TWO)
    assert recorded.running_id == ""


def test_a_check_that_never_ended_is_known(tmp_path: Path) -> None:
    log = TestLog(tmp_path)
    log.started(ONE.id, "a: one")
    log.ended(ONE)
    log.started(TWO.id, "a: two")
    log.ended(Check("harness::own", "harness", "own", "passed", 0.0))
    recorded = read_tests(tmp_path)  # the log is not even closed
    assert (recorded.running_id, recorded.running_title) == ("a.py::two", "a: two")
    assert len(recorded.checks) == 2


def test_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    log = TestLog(tmp_path)
    log.ended(ONE)
    log.close()
    with (tmp_path / TESTS_FILE).open("a") as file:
        file.write('{"event": "end", "id": "a.py::tw')
    assert read_tests(tmp_path).checks == (ONE,)


def test_no_records_at_all(tmp_path: Path) -> None:
    assert read_tests(tmp_path).checks == ()
    assert read_cell(tmp_path) is None


def test_secrets_are_masked_and_the_lines_stay_json(tmp_path: Path) -> None:
    secret = 'pa"ss\\word'
    REDACTOR.add(secret, "odd password")
    log = TestLog(tmp_path)
    log.started("a.py::x", f"a: {secret}")
    log.ended(dataclasses.replace(TWO, message=f"got {secret}", details=f"'{secret}'\n"))
    log.close()
    text = (tmp_path / TESTS_FILE).read_text()
    assert json.dumps(secret)[1:-1] not in text
    assert read_tests(tmp_path).checks[0].message == "got [redacted: odd password]"


def test_very_long_details_lose_their_middle() -> None:
    text = "begin" + "x" * 50_000 + "end"
    short = shorten(text, 1000)
    assert short.startswith("begin")
    assert short.endswith("end")
    assert "[... 49008 characters left out ...]" in short
    assert shorten("short", 1000) == "short"


def test_facts_are_read_back(tmp_path: Path) -> None:
    facts = CellFacts(
        "ci",
        "selfsigned",
        "qemu",
        "tcg",
        timings=CellTimings(boot_s=1.0),
        guest={"SLM_FLAVOR": "ci"},
        metrics=(
            Metric("decode", "tok/s", 1.85),
            Metric("ttft", "s", 0.2, n=2, labels={"state": "cold"}, samples=(0.2, 0.3), outliers=(1,)),
        ),
        conditions={"governor": "performance", "steal_percent": 0.5},
    )
    write_cell(facts, tmp_path)
    assert read_cell(tmp_path) == facts
    assert [path.name for path in tmp_path.iterdir()] == [CELL_FILE]


def test_a_container_runs_natively() -> None:
    assert accelerator_before_boot("nspawn", "auto") == "native"
    assert accelerator_before_boot("qemu", "auto") == "auto"
