"""The rules from counts to a verdict and an exit code."""

import dataclasses

import pytest
from sample import CELL

from harness.cell.leaks import CHECK_ID as OWN_CHECK
from harness.results.model import Check, Counts, Metric
from harness.results.verdict import count, count_suites, exit_code, judge_cell, judge_run

PASSING = dataclasses.replace(CELL, verdict="PASS", reason="all 120 executed checks passed")
OPEN = dataclasses.replace(CELL, name="open", verdict="INCONCLUSIVE", reason="no check was executed")


def check(status: str) -> Check:
    return Check("id", "file", "title", status, 0.0)  # type: ignore[arg-type]


def test_counting() -> None:
    statuses = ["passed", "passed", "failed", "skipped", "error", "skipped"]
    assert count(check(one) for one in statuses) == Counts(passed=2, failed=1, skipped=2, errors=1)


@pytest.mark.parametrize(
    ("counts", "options", "verdict"),
    [
        (Counts(passed=120), {}, "PASS"),
        (Counts(passed=119), {}, "INCONCLUSIVE"),
        (Counts(passed=119, skipped=50), {}, "INCONCLUSIVE"),
        (Counts(passed=120), {"own_checks": 1}, "INCONCLUSIVE"),
        (Counts(passed=121), {"own_checks": 1}, "PASS"),
        (Counts(passed=500, failed=1), {}, "FAIL"),
        (Counts(passed=500, errors=1), {}, "FAIL"),
        (Counts(failed=1), {}, "FAIL"),
        (Counts(), {}, "INCONCLUSIVE"),
        (Counts(skipped=200), {}, "INCONCLUSIVE"),
        (Counts(passed=1), {"own_checks": 1, "required": 1}, "INCONCLUSIVE"),
        (Counts(passed=120), {"fault": "QEMU was not found"}, "INCONCLUSIVE"),
        (Counts(passed=120), {"interrupted": True}, "INCONCLUSIVE"),
        (Counts(passed=20, failed=1), {"interrupted": True}, "FAIL"),
        (Counts(passed=1, failed=1), {"fault": "the host went away"}, "FAIL"),
        (Counts(errors=1, skipped=119), {"fault": "no disk", "errors_by_fault": 1}, "INCONCLUSIVE"),
        (Counts(errors=1, skipped=119), {"boot_failure": "panic"}, "FAIL"),
    ],
)
def test_a_cell(counts: Counts, options: dict[str, object], verdict: str) -> None:
    arguments = {"required": 120, **options}
    assert judge_cell(counts, [], **arguments).verdict == verdict  # type: ignore[arg-type]


def test_reasons_name_what_is_wrong() -> None:
    assert judge_cell(Counts(passed=5, failed=2, errors=1), [], required=1).reason == (
        "3 of 8 executed checks failed"
    )
    assert judge_cell(Counts(passed=5), [], required=120).reason == (
        "only 5 checks were executed, at least 120 must be"
    )
    assert judge_cell(Counts(errors=1), [], required=1, boot_failure="kernel panic").reason == (
        "the machine did not get ready: kernel panic"
    )


def test_a_missed_target_fails_the_cell() -> None:
    missed = Metric("decode", "tok/s", 1.0, target=3.0, verdict="FAIL")
    judgement = judge_cell(Counts(passed=120), [missed], required=120)
    assert judgement.verdict == "FAIL"
    assert "decode" in judgement.reason


def test_a_run_is_as_good_as_its_worst_cell() -> None:
    assert judge_run([PASSING]).verdict == "PASS"
    assert judge_run([PASSING, OPEN]).verdict == "INCONCLUSIVE"
    assert judge_run([PASSING, OPEN, CELL]).verdict == "FAIL"
    assert "ci-selfsigned" in judge_run([PASSING, OPEN, CELL]).reason
    assert judge_run([]).verdict == "INCONCLUSIVE"
    assert judge_run([PASSING], interrupted=True).verdict == "INCONCLUSIVE"
    assert judge_run([PASSING], fault="no disk").verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("verdict", "fault", "interrupted", "code"),
    [
        ("PASS", False, False, 0),
        ("FAIL", False, False, 1),
        ("FAIL", True, False, 1),
        ("INCONCLUSIVE", True, False, 2),
        ("INCONCLUSIVE", False, False, 3),
        ("INCONCLUSIVE", False, True, 130),
        ("FAIL", False, True, 130),
    ],
)
def test_exit_codes(verdict: str, fault: bool, interrupted: bool, code: int) -> None:
    assert exit_code(verdict, fault=fault, interrupted=interrupted) == code  # type: ignore[arg-type]


def checks(**counts: int) -> list[Check]:
    """Passed checks of these suites, and one that the harness makes of itself."""
    files = [f"suites/{suite}/test_x.py" for suite, number in counts.items() for _ in range(number)]
    return [Check(f"{file}::one", file, "one", "passed", 0.5) for file in files] + [
        Check(OWN_CHECK, "harness", "own", "passed", 0.1)
    ]


def test_each_suite_of_a_cell_is_counted_for_itself() -> None:
    counted = count_suites(checks(conformance=3, letsencrypt=2), {"letsencrypt": 2, "conformance": 120})
    assert [(one.name, one.tests.passed, one.required, one.seconds) for one in counted] == [
        ("letsencrypt", 2, 2, 1.0),
        ("conformance", 3, 120, 1.5),
    ]
    assert [one.name for one in count_suites(checks(folder=1), {})] == ["folder"]
    outside_the_checkout = Check("test_x.py::x", "test_x.py", "x", "passed", 0.0)
    assert count_suites([outside_the_checkout], {"mine": 1})[0].tests.passed == 1


def test_a_suite_below_its_minimum_leaves_the_cell_open_whatever_the_others_did() -> None:
    suites = count_suites(checks(conformance=500), {"conformance": 120, "letsencrypt": 5})
    judgement = judge_cell(Counts(passed=501), [], suites=suites)
    assert judgement.verdict == "INCONCLUSIVE"
    assert judgement.reason == "only 0 checks of suite letsencrypt were executed, at least 5 must be"
    assert judge_cell(Counts(passed=500, failed=1), [], suites=suites).verdict == "FAIL"
    enough = count_suites(checks(conformance=120, letsencrypt=5), {"conformance": 120, "letsencrypt": 5})
    assert judge_cell(Counts(passed=126), [], suites=enough).verdict == "PASS"


def test_a_skipped_check_does_not_count_as_executed() -> None:
    skipped = [Check("x", "suites/faults/test_x.py", "x", "skipped", 0.0)] * 9
    suites = count_suites([*skipped, *checks(faults=1)], {"faults": 2})
    assert judge_cell(Counts(passed=2, skipped=9), [], suites=suites).verdict == "INCONCLUSIVE"


def test_a_run_says_what_its_cells_left_out() -> None:
    left_out = Check("id", "file", "title", "skipped", 0.0, "left out in a container: it waits for a minute")
    cell = dataclasses.replace(PASSING, checks=(left_out,))
    assert judge_run([PASSING, cell]).reason.endswith("; 1 left out in a container: it waits for a minute")
