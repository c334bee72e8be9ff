"""After a power cut at any instant the next boot ends ready: one whole configuration, nothing left over."""

from __future__ import annotations

import pytest

from suites.powercut.cuts import CHANGED, FIRST, Cuts


def whole(recoveries: list[list[str]], number: int) -> None:
    """Fails with what is wrong after the cut of this number, counted from 1."""
    __tracebackhide__ = True
    assert number <= len(recoveries), (
        f"only {len(recoveries)} different disks were seen, cut {number} is none"
    )
    faults = recoveries[number - 1]
    assert not faults, "\n".join(faults)


def test_the_guest_is_whole_after_it_was_killed_in_its_first_configuration(cuts: Cuts) -> None:
    assert not cuts.faults_after_first_cut, "\n".join(cuts.faults_after_first_cut)


def test_the_guest_is_whole_and_new_after_it_was_killed_while_taking_over_a_changed_context(
    changed_context: list[list[str]],
) -> None:
    whole(changed_context, len(changed_context))


@pytest.mark.parametrize("number", range(1, FIRST + 1))
def test_the_guest_is_whole_after_a_cut_in_its_first_configuration(
    first_boot: list[list[str]], number: int
) -> None:
    whole(first_boot, number)


@pytest.mark.parametrize("number", range(1, CHANGED + 1))
def test_the_guest_is_whole_and_new_after_a_cut_while_taking_over_a_changed_context(
    changed_context: list[list[str]], number: int
) -> None:
    whole(changed_context, number)
