"""Several clients at once: own connections, one start, failures apart from figures."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest
from fake_engine import Timetable, running_engine

from harness.bench.load import at_once
from harness.bench.wire import connect_tcp
from harness.errors import HarnessError

ASK = {"messages": []}
FAILING = {**ASK, "fake": {"fault": "503"}}
CUT = {**ASK, "fake": {"fault": "drops in the middle"}}
QUICK = Timetable(ttft_s=0.001, itl_s=0.001, events=4)


def test_each_client_has_a_connection_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    with running_engine(QUICK, tmp_path) as engine:
        load = at_once(engine.target(), [[ASK] * 3] * 4, timeout_s=10)
    assert (len(load.timings), load.failures) == (12, [])
    assert (engine.connections, len(engine.requests)) == (4, 12)
    assert [sum(timing.connect_s is not None for timing in load.timings)] == [4]


def test_failures_are_kept_apart_and_the_next_request_has_a_new_connection() -> None:
    with running_engine(QUICK) as engine:
        load = at_once(engine.target(), [[ASK, ASK], [FAILING, ASK], [CUT, ASK, CUT]], timeout_s=10)
    kinds = [[getattr(outcome, "kind", "") for outcome in client] for client in load.clients]
    assert kinds == [["", ""], ["status", ""], ["cut off", "", "cut off"]]
    assert (len(load.timings), len(load.failures)) == (4, 3)
    assert all(timing.tokens_out == 4 for timing in load.timings)
    assert len(engine.requests) == 7
    assert load.tokens_per_s == pytest.approx(16 / load.wall_s)


def test_a_load_without_any_answer_has_no_speed() -> None:
    with running_engine(QUICK) as engine:
        load = at_once(engine.target(), [[FAILING], [CUT]], timeout_s=10)
    assert (load.timings, load.wall_s, load.tokens_per_s) == ([], 0.0, None)
    with running_engine(QUICK) as engine:
        gone = engine.target()
    assert [failure.kind for failure in at_once(gone, [[ASK], [ASK]], timeout_s=10).failures] == [
        "connect"
    ] * 2


@pytest.mark.timeout(20)  # nobody waits for a client that gave up
def test_a_fault_of_the_host_ends_the_load_and_is_told_itself() -> None:
    numbers = itertools.count()
    with running_engine(QUICK) as engine:

        def sometimes() -> socket.socket:
            if next(numbers) == 2:
                raise HarnessError("the forward to the guest is gone")
            return connect_tcp("127.0.0.1", engine.port)

        with pytest.raises(HarnessError, match="forward"):
            at_once(engine.target(connect=sometimes), [[ASK]] * 3, timeout_s=10)
    assert engine.requests == []


def test_nobody_is_no_load() -> None:
    with running_engine() as engine, pytest.raises(ValueError, match="at least one client"):
        at_once(engine.target(), [], timeout_s=1)
