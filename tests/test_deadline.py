"""Deadlines bound every attempt, and a late success is a failure."""

import time

import pytest

from harness.deadline import Deadline, DeadlineExceeded, NotYet, wait_until


def test_returns_what_the_check_found() -> None:
    answers = iter([None, None, "found"])
    assert wait_until(lambda _: next(answers), Deadline.after(5), what="the thing", interval=0.001) == "found"


def test_false_and_zero_are_answers_and_only_none_is_not_yet() -> None:
    assert wait_until(lambda _: 0, Deadline.after(1), what="zero") == 0
    assert wait_until(lambda _: False, Deadline.after(1), what="false") is False


def test_success_after_the_deadline_is_a_failure() -> None:
    def slow(_: bool) -> str:
        time.sleep(0.05)
        return "found"

    with pytest.raises(DeadlineExceeded, match=r"the thing: not within 0 s; .* too late"):
        wait_until(slow, Deadline.after(0.02), what="the thing", interval=0.001)


def test_only_the_last_try_is_told_so_and_it_starts_before_the_deadline() -> None:
    tries: list[tuple[bool, bool]] = []
    deadline = Deadline.after(0.1)

    def never(last_try: bool) -> None:
        tries.append((last_try, deadline.expired))

    with pytest.raises(DeadlineExceeded):
        wait_until(never, deadline, what="never", interval=0.02)
    assert [last for last, _ in tries] == [False] * (len(tries) - 1) + [True]
    assert tries[-1] == (True, False)


def test_an_attempt_that_eats_the_budget_still_gets_one_last_try_and_no_more() -> None:
    tries: list[bool] = []

    def greedy(last_try: bool) -> None:
        tries.append(last_try)
        time.sleep(0.05)

    with pytest.raises(DeadlineExceeded):
        wait_until(greedy, Deadline.after(0.03), what="greedy", interval=0.001)
    assert tries == [False, True]


def test_failure_reports_what_was_seen_last() -> None:
    def check(last_try: bool) -> None:
        raise NotYet("state=activating" if last_try else "state=inactive")

    with pytest.raises(DeadlineExceeded) as caught:
        wait_until(check, Deadline.after(0.01), what="slm-engine.service", interval=0.002)
    assert caught.value.seen == "state=activating"
    assert "slm-engine.service" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.timing
def test_any_other_exception_aborts_at_once() -> None:
    started = time.monotonic()

    def broken(_: bool) -> None:
        raise ValueError("unit failed")

    with pytest.raises(ValueError, match="unit failed"):
        wait_until(broken, Deadline.after(30), what="never")
    assert time.monotonic() - started < 1


def test_sooner_never_outlives_the_whole_wait() -> None:
    whole = Deadline.after(0.5)
    assert whole.sooner(10) is whole
    assert whole.sooner(0.1).remaining <= 0.1
    assert Deadline.after(-1).expired
    assert Deadline.after(-1).remaining == 0
