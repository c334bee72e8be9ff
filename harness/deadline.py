"""Bounded waiting: a point in time shared by all attempts, and one loop that keeps to it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from harness.errors import HarnessError

T = TypeVar("T")


class DeadlineExceeded(HarnessError):
    """A wait ran out of time: for `what`, and what the last attempt saw of it ("" when unknown)."""

    def __init__(self, what: str, seconds: float, seen: str = "", *, hint: str = "") -> None:
        message = f"{what}: not within {seconds:.0f} s"
        super().__init__(f"{message}; last seen: {seen}" if seen else message, hint=hint)
        self.what = what
        self.seen = seen


class NotYet(Exception):
    """Raised by a check to say "not yet" together with what it saw, which a failed wait then reports."""


@dataclass(frozen=True)
class Deadline:
    """A point in monotonic time. Pass one down so that a whole sequence of attempts shares one budget."""

    seconds: float
    expires_at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline `seconds` from now (0 or less: already expired)."""
        return cls(seconds=seconds, expires_at=time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.expires_at - time.monotonic())

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.expires_at

    def sooner(self, seconds: float) -> "Deadline":
        """The earlier of this deadline and `seconds` from now: bounds one attempt inside the whole wait."""
        return self if self.remaining <= seconds else Deadline.after(seconds)


def wait_until(
    check: Callable[[bool], T | None], deadline: Deadline, *, what: str, interval: float = 0.5
) -> T:
    """Call `check` every `interval` seconds until it returns something other than None.

    `check(last_try)` returns None or raises NotYet(seen) for "not yet"; anything else it raises aborts the
    wait at once. On the last try it is told so and may gather diagnostics. It must bound its own attempts
    (see Deadline.sooner): a success that arrives after the deadline counts as a failure, because what was
    promised is the time, not the state.

    Raises DeadlineExceeded naming `what` and what was seen last.
    """
    seen = ""
    while True:
        last_try = deadline.remaining <= interval
        try:
            value = check(last_try)
        except NotYet as not_yet:
            value, seen = None, str(not_yet)
        if value is not None:
            if deadline.expired:
                raise DeadlineExceeded(what, deadline.seconds, "it succeeded, but too late")
            return value
        if last_try:
            raise DeadlineExceeded(what, deadline.seconds, seen)
        time.sleep(min(interval, deadline.remaining))
