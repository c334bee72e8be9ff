"""Checks that wait by design are left out of a container's cell, and the verdict says so.

tests/cell/test_own_guests.py has one in the cell that it runs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.cell.left_out import SAID, leave_out_slow, left_out_sentence, unnamed
from harness.results.model import Check, Counts
from harness.results.verdict import judge_cell

QUICK = Check("a", "f", "t", "passed", 0.1)
LEFT_OUT = Check("b", "f", "t", "skipped", 0.0, f"{SAID}it waits for a minute")
OTHER = dataclasses.replace(LEFT_OUT, message=f"{SAID}a model is loaded twice")
SKIPPED = dataclasses.replace(LEFT_OUT, message="there is no disk")


def config(*arguments: str, keyword: str = "") -> pytest.Config:
    """What pytest was asked for."""
    return cast(pytest.Config, SimpleNamespace(option=SimpleNamespace(keyword=keyword), args=list(arguments)))


def item(*marks: pytest.MarkDecorator) -> tuple[pytest.Item, list[Any]]:
    """A collected check with these marks, and those that are added to it."""
    added: list[Any] = []

    def closest(name: str) -> pytest.Mark | None:
        return next((one.mark for one in marks if one.name == name), None)

    stand_in = SimpleNamespace(nodeid="f::t", get_closest_marker=closest, add_marker=added.append)
    return cast(pytest.Item, stand_in), added


def test_only_what_waits_is_left_out_with_its_reason() -> None:
    waits, added = item(pytest.mark.vm, pytest.mark.slow("it waits for a minute"))
    quick, untouched = item(pytest.mark.vm)
    leave_out_slow([waits, quick])
    assert [(mark.name, mark.kwargs) for mark in added] == [
        ("skip", {"reason": "left out in a container: it waits for a minute"})
    ]
    assert untouched == []


@pytest.mark.parametrize(
    ("asked", "left_out"),
    [
        (config("suites/x"), True),
        (config("suites/x", keyword="waits"), False),
        (config("suites/x/test_y.py"), False),
        (config("suites/x/test_y.py::test_z[1]"), False),
        (config("suites/x/test_z.py"), True),
    ],
)
def test_what_is_named_is_meant(asked: pytest.Config, left_out: bool) -> None:
    waits = cast(pytest.Item, SimpleNamespace(path=Path("suites/x/test_y.py").absolute()))
    assert bool(unnamed([waits], asked)) is left_out


@pytest.mark.parametrize("mark", [pytest.mark.slow, pytest.mark.slow(" ")])
def test_a_mark_without_a_reason_is_refused(mark: pytest.MarkDecorator) -> None:
    with pytest.raises(pytest.UsageError, match="f::t: the mark slow needs a reason"):
        leave_out_slow([item(mark)[0]])


def test_each_reason_is_told_once() -> None:
    assert left_out_sentence([QUICK, LEFT_OUT, LEFT_OUT, OTHER, SKIPPED]) == (
        "3 left out in a container: it waits for a minute; a model is loaded twice"
    )
    assert left_out_sentence([QUICK, SKIPPED]) == ""


def test_a_pass_says_what_it_does_not_speak_of() -> None:
    said = left_out_sentence([LEFT_OUT])
    assert judge_cell(Counts(passed=5), (), left_out=said).reason == (
        "all 5 executed checks passed; 1 left out in a container: it waits for a minute"
    )
    assert judge_cell(Counts(passed=5), ()).reason == "all 5 executed checks passed"
