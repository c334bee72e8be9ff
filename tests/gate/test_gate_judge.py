"""What the gate says of an image, by its runs: PASS, FAIL, INCONCLUSIVE, and the words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from judged import (
    BOOTS,
    DECODE,
    IMAGE,
    LATER,
    NOW,
    PART,
    READY,
    RULES,
    SUBJECT,
    WHOLE,
    cell,
    results,
)

from harness.gate.evidence import Run
from harness.gate.judge import Answer, judge_image
from harness.gate.subject import Subject
from harness.gate.table import answer_lines, answer_markdown
from harness.results.model import Cell, Results


def ask(*runs: Results, subject: Subject = SUBJECT, doubt: str = "") -> Answer:
    found = sorted(
        (Run(Path(f"/reports/{n}"), run, doubt) for n, run in enumerate(runs)), key=lambda r: r.started
    )
    return judge_image(subject, RULES, found, now=NOW)


def test_all_that_is_required_is_a_pass() -> None:
    answer = ask(results(WHOLE, LATER, BOOTS))
    assert (answer.verdict, answer.reasons) == ("PASS", ())
    assert [one.cell for one in answer.counted] == [WHOLE, LATER, BOOTS]


def test_several_runs_together_are_a_pass() -> None:
    assert ask(results(WHOLE), results(LATER, days_ago=2), results(BOOTS, days_ago=3)).verdict == "PASS"


def test_nothing_at_all_is_inconclusive_with_a_command_for_each_cell() -> None:
    answer = ask()
    assert answer.verdict == "INCONCLUSIVE"
    assert "make test-image IMAGE=... PROFILES=ci TLS_MODES=custom SUITES=auth" in answer.reasons[1]


def with_decode(**changed: object) -> Results:
    metric = replace(DECODE, **changed)  # type: ignore[arg-type]
    return results(WHOLE, LATER, replace(BOOTS, metrics=(metric,)))


FAILED = cell("auth", "custom", ran=("a",), broken=("a",))
OTHERS = (WHOLE, BOOTS)


@pytest.mark.parametrize(
    ("what", "changed", "verdict", "words"),
    [
        ("a cell is missing", results(*OTHERS), "INCONCLUSIVE", "(later_modes), ci, custom: no run has it"),
        ("a check failed", results(*OTHERS, FAILED), "FAIL", "1 checks failed"),
        ("stale", results(*OTHERS, LATER, days_ago=7.1), "INCONCLUSIVE", "7 days ago, at most 7 count"),
        ("a stale fail still fails", results(*OTHERS, FAILED, days_ago=30), "FAIL", "1 checks failed"),
        ("a selection", results(*OTHERS, LATER, selection="auth"), "INCONCLUSIVE", "was run (TESTS=auth)"),
        ("a selection can fail", results(*OTHERS, FAILED, selection="auth"), "FAIL", "1 checks failed"),
        (
            "too few checks",
            results(*OTHERS, cell("auth", "custom", ran=("a",))),
            "INCONCLUSIVE",
            "only 1 checks were executed, 2 must be",
        ),
        (
            "skipped checks don't count",
            results(*OTHERS, cell("auth", "custom", ran=("a",), skipped=("a", "b"))),
            "INCONCLUSIVE",
            "only 1 checks were executed, 2 must be",
        ),
        (
            "a part for the whole",
            results(LATER, BOOTS, cell("auth", "selfsigned", ran=("a", "a", "a"), metrics=(READY,))),
            "INCONCLUSIVE",
            "not the whole suite: no check of test_b.py was executed",
        ),
        (
            "a cell without a verdict",
            results(*OTHERS, replace(LATER, verdict="INCONCLUSIVE", reason="interrupted; 3 checks")),
            "INCONCLUSIVE",
            "interrupted; 3 checks",
        ),
        (
            "on the wrong machine",
            results(*OTHERS, cell("auth", "custom", machine="nspawn", accelerator="native")),
            "INCONCLUSIVE",
            "ran on nspawn/native only; qemu/kvm or qemu/tcg counts",
        ),
        (
            "in another profile",
            results(*OTHERS, replace(LATER, profile="minimum")),
            "INCONCLUSIVE",
            "no run has it",
        ),
        (
            "a metric is missing",
            results(WHOLE, LATER, replace(BOOTS, metrics=())),
            "INCONCLUSIVE",
            "decode (path appliance), ci: not measured in a cell of boots that counts",
        ),
        (
            "a metric with other labels",
            with_decode(labels={"path": "engine"}),
            "INCONCLUSIVE",
            "not measured",
        ),
        (
            "a metric that only was measured",
            with_decode(target=None, verdict=None),
            "INCONCLUSIVE",
            "3.5 tok/s is MEASURED; accepted: PASS",
        ),
        (
            "an undecided metric",
            with_decode(verdict="INCONCLUSIVE", reason="noisy"),
            "INCONCLUSIVE",
            "3.5 tok/s is INCONCLUSIVE (noisy); accepted: PASS",
        ),
        (
            "a missed metric",
            with_decode(verdict="FAIL", reason="too slow"),
            "FAIL",
            "3.5 tok/s is FAIL (too slow)",
        ),
    ],
)  # fmt: skip
def test_what_is_no_pass(what: str, changed: Results, verdict: str, words: str) -> None:
    answer = ask(changed)
    assert answer.verdict == verdict, what
    assert any(words in reason for reason in answer.reasons), answer.reasons


def test_a_failed_cell_must_pass_twice_afterwards() -> None:
    """Red, then green by luck, is no proof: the file of the image didn't change."""
    red = results(*OTHERS, FAILED, days_ago=3)
    once = ask(red, results(LATER, days_ago=2))
    assert once.verdict == "INCONCLUSIVE"
    assert "passed 1 of 2 times since" in once.reasons[0]
    twice = ask(red, results(LATER, days_ago=2), results(LATER, days_ago=1))
    assert twice.verdict == "PASS"
    assert any("failed before, 2 passes since" in row.reason for row in twice.rows)
    assert ask(red, results(LATER, days_ago=4), results(LATER, days_ago=5)).verdict == "FAIL"
    again = results(FAILED, days_ago=1.5)
    assert ask(red, results(LATER, days_ago=2), again, results(LATER)).verdict == "INCONCLUSIVE"


def test_a_run_in_doubt_counts_for_nothing_and_is_told() -> None:
    answer = ask(results(WHOLE, LATER, BOOTS), doubt="carries no seal")
    assert answer.verdict == "INCONCLUSIVE"
    assert answer.set_aside == ((Path("/reports/0"), "carries no seal"),)
    assert any("set aside: /reports/0: it carries no seal" in line for line in answer_lines(answer))


def test_a_failure_is_told_with_the_check_that_failed() -> None:
    two = cell("auth", "custom", ran=("a",), broken=("a", "b"))
    (reason,) = ask(results(*OTHERS, two)).reasons
    assert reason.endswith("2 checks failed: a and 1 more; has to pass 2 times now")


def test_what_failed_without_being_asked_for_is_told_and_decides_nothing() -> None:
    foreign = cell("faults", "selfsigned", broken=("a",), machine="nspawn", accelerator="native")
    answer = ask(results(WHOLE, LATER, BOOTS, foreign))
    assert answer.verdict == "PASS"
    assert answer.unasked == (
        "ci-faults-selfsigned on nspawn/native failed in the run of 2026-02-09T12:00:00Z: 1 checks failed: a",
    )
    assert f"not asked for: {answer.unasked[0]}" in answer_lines(answer)
    elsewhere = replace(FAILED, machine="nspawn", accelerator="native")
    assert len(ask(results(WHOLE, LATER, BOOTS, elsewhere)).unasked) == 1
    assert ask(results(*OTHERS, FAILED)).unasked == ()


def test_a_run_that_was_changed_keeps_others_from_a_pass() -> None:
    """It may be the one that failed: an edit must not take a failure out of the way."""
    good, changed = (results(WHOLE, LATER, BOOTS, days_ago=days) for days in (2, 1))
    runs = [
        Run(Path("/reports/0/results.json"), good),
        Run(Path("/reports/1/results.json"), changed, "was changed", True),
    ]
    answer = judge_image(SUBJECT, RULES, runs, now=NOW)
    assert answer.verdict == "INCONCLUSIVE"
    assert [one.partition(":")[0] for one in answer.reasons] == ["runs"]
    assert "what /reports/1 showed can't be told any more" in answer.reasons[0]
    foreign = replace(runs[1], doubt="judged another image", untold=False)
    assert judge_image(SUBJECT, RULES, [runs[0], foreign], now=NOW).verdict == "PASS"


@pytest.mark.parametrize(
    ("subject", "verdict", "words"),
    [
        (replace(SUBJECT, image=replace(IMAGE, engine="localai")), "FAIL", "localai is none of llama-server"),
        (replace(SUBJECT, image=replace(IMAGE, engine="unknown")), "INCONCLUSIVE", "unknown is none of"),
        (replace(SUBJECT, parts=None), "INCONCLUSIVE", "doesn't tell its parts"),
        (
            replace(SUBJECT, parts=(PART, replace(PART, name="y", sha256=""))),
            "FAIL",
            "not fixed by a hash: y",
        ),
        (replace(SUBJECT, parts=(replace(PART, sha256="0" * 64),)), "FAIL", "not fixed by a hash: model-x"),
        (
            replace(SUBJECT, image=replace(IMAGE, unpinned=("local-ai sha256:ab",))),
            "FAIL",
            "not fixed by a hash: local-ai sha256:ab",
        ),
    ],
)
def test_the_image_itself_can_be_refused(subject: Subject, verdict: str, words: str) -> None:
    answer = ask(results(WHOLE, LATER, BOOTS), subject=subject)
    assert answer.verdict == verdict
    assert any(words in reason for reason in answer.reasons), answer.reasons


@pytest.mark.parametrize(
    ("flavor", "words"), [("unknown", "nothing says which flavor"), ("big", "no rules for flavor big")]
)
def test_an_image_without_rules_gets_no_pass(flavor: str, words: str) -> None:
    answer = judge_image(replace(SUBJECT, image=replace(IMAGE, flavor=flavor)), None, (), now=NOW)
    assert answer.verdict == "INCONCLUSIVE"
    assert words in answer.reasons[0]


def test_the_table_has_every_requirement() -> None:
    lines = list(answer_markdown(ask(results(WHOLE, LATER, BOOTS))))
    assert len(lines) == 2 + 2 + len(RULES.cells) + len(RULES.metrics)
    assert (
        lines[5] == "| auth (later_modes), ci, custom | PASS | 2026-02-09T12:00:00Z | qemu/tcg | 2/2 "
        "| all executed checks passed |"
    )
    assert all(line.count("|") == 7 for line in lines)


def test_the_newest_pass_is_the_one_that_counts() -> None:
    newer: Cell = replace(LATER, reason="the newer one")
    answer = ask(results(WHOLE, LATER, BOOTS, days_ago=2), results(newer, days_ago=1))
    assert newer in [one.cell for one in answer.counted]
    assert NOW - timedelta(days=1) == max(one.run.started for one in answer.counted)
