"""Several clients at once: each a thread with a connection of its own, all starting at the same instant.

Answers are only stamped while anybody still measures; they are read when all have ended, so that the
reading of one client's answer never delays the stamps of another's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from harness.bench.timeline import Timing, split_outcomes, timing_of
from harness.bench.wire import (
    Connection,
    Failure,
    Stamps,
    Target,
    open_connection,
    stream_chat,
    without_garbage_collection,
)

START_WITHIN_S = 30.0
"""More than all connections take to open, one beside the other, on a busy guest."""


@dataclass(frozen=True)
class Load:
    """What each client got, in its order."""

    clients: tuple[tuple[Timing | Failure, ...], ...]
    started_apart_s: float
    """Between the first and the last client's first request."""
    wall_s: float
    """From the first request to the end of the last answer; 0 without any answer."""

    @property
    def timings(self) -> list[Timing]:
        """What was measured, client after client."""
        return split_outcomes(self._outcomes())[0]

    @property
    def failures(self) -> list[Failure]:
        """What failed, client after client."""
        return split_outcomes(self._outcomes())[1]

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens of all answers by `wall_s`, the reading of prompts included; None without any answer."""
        return sum(timing.tokens_out for timing in self.timings) / self.wall_s if self.wall_s else None

    def _outcomes(self) -> list[Timing | Failure]:
        return [outcome for client in self.clients for outcome in client]


def at_once(target: Target, bodies: Sequence[Sequence[Mapping[str, Any]]], *, timeout_s: float) -> Load:
    """One client for each sequence of bodies; it sends them one after the other over its own connection.

    Connections are opened first, then all clients begin together. A client whose connection is gone opens
    another for its next request; no request is sent twice.

    Args:
        timeout_s: seconds for each request.

    Raises:
        HarnessError: a request can't be written as HTTP, or the target's factory says so.
        ValueError: there is no client.
    """
    if not bodies:
        raise ValueError("a load needs at least one client")
    barrier = threading.Barrier(len(bodies))
    with without_garbage_collection(), ThreadPoolExecutor(len(bodies), "client") as threads:
        running = [threads.submit(_started, target, own, barrier, timeout_s) for own in bodies]
        wait(running)
    # Who gave up because of another one's fault says nothing of that fault.
    for fault in sorted((client.exception() for client in running), key=_is_broken_barrier):
        if fault is not None:
            raise fault
    clients = [client.result() for client in running]
    stamped = [stamps for client in clients for stamps in client.outcomes if isinstance(stamps, Stamps)]
    begun = [client.begun_ns for client in clients]
    return Load(
        clients=tuple(tuple(timing_of(outcome) for outcome in client.outcomes) for client in clients),
        started_apart_s=(max(begun) - min(begun)) / 1e9,
        wall_s=(max(stamps.ended_ns for stamps in stamped) - min(begun)) / 1e9 if stamped else 0.0,
    )


def _is_broken_barrier(fault: BaseException | None) -> bool:
    return isinstance(fault, threading.BrokenBarrierError)


@dataclass(frozen=True)
class _Client:
    begun_ns: int
    outcomes: tuple[Stamps | Failure, ...]


def _started(
    target: Target, bodies: Sequence[Mapping[str, Any]], barrier: threading.Barrier, timeout_s: float
) -> _Client:
    try:
        return _client(target, bodies, barrier, timeout_s)
    except BaseException:
        barrier.abort()  # the others would wait for this one
        raise


def _client(
    target: Target, bodies: Sequence[Mapping[str, Any]], barrier: threading.Barrier, timeout_s: float
) -> _Client:
    opened = open_connection(target, timeout_s=timeout_s)
    outcomes: list[Stamps | Failure] = []
    try:
        barrier.wait(START_WITHIN_S + timeout_s)
        begun = time.perf_counter_ns()
        for number, body in enumerate(bodies):
            if number and not (isinstance(opened, Connection) and opened.usable):
                opened = open_connection(target, timeout_s=timeout_s)
            outcomes.append(
                opened
                if isinstance(opened, Failure)
                else stream_chat(target, body, timeout_s=timeout_s, connection=opened)
            )
    finally:
        if isinstance(opened, Connection):
            opened.close()
    return _Client(begun, tuple(outcomes))
