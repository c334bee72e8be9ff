"""The engine dies: clients learn it at once and in their own language, and it is back by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import pytest

from harness.client.https import ApplianceAddress, open_client
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, assert_refused, chat
from suites.conformance.engine_loopback import UNTIL_BUSY
from suites.conformance.guest_facts import output, unit_properties
from suites.faults.conftest import ReadyAgain
from suites.faults.running_stream import CONNECT_S, any_event, endless, running_streams

ENGINE = "slm-engine.service"
KILL = f"systemctl kill --signal=KILL {ENGINE}"
TOLD_WITHIN_S = 3.0
"""Stretched for slow accelerators."""


def restarts(machine: Machine) -> int:
    return int(unit_properties(machine, [ENGINE])[ENGINE]["NRestarts"])


def test_a_stream_that_is_cut_never_looks_whole(
    machine: Machine,
    appliance: ApplianceAddress,
    stranger: httpx.Client,
    client: httpx.Client,
    ready_again: ReadyAgain,
    stretch: float,
    record_metric: Callable[..., None],
) -> None:
    before = restarts(machine)
    with running_streams(appliance, 6, endless()) as streams:
        assert any_event(streams, CONNECT_S * stretch), "no stream to cut"
        output(machine, KILL)
        killed = time.monotonic()
        assert_refused(stranger.get("/readyz"), 503)
        turned_away = client.post(CHAT, json=chat(max_tokens=1))
        assert_refused(turned_away, 503)
        assert int(turned_away.headers["retry-after"]) > 0
        for stream in streams:
            assert stream.ended.wait(TOLD_WITHIN_S * stretch), "a client of a dead engine was left waiting"
    for stream in streams:
        if stream.status == 200:
            assert stream.cut, f"it ended as if whole: {bytes(stream.body[-200:])!r}"
            assert b"[DONE]" not in stream.body
        else:
            assert (stream.status, stream.cut) == (503, ""), f"{stream.status} {stream.cut}"
            assert int(stream.headers["retry-after"]) > 0
    ready_again()
    record_metric("engine_back_after_kill", "s", time.monotonic() - killed, n=1)
    assert restarts(machine) == before + 1


def test_a_plain_request_gets_an_error_it_may_repeat(
    machine: Machine, appliance: ApplianceAddress, stretch: float, ready_again: ReadyAgain
) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        with open_client(appliance, read_timeout_s=CONNECT_S) as client:
            answers.append(client.post(CHAT, json=chat(max_tokens=4000, ignore_eos=True)))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    output(machine, UNTIL_BUSY, timeout=60 * stretch)
    output(machine, KILL)
    asking.join(TOLD_WITHIN_S * stretch)
    assert answers, "the client of a dead engine was left waiting"
    assert_refused(answers[0], 503)
    assert int(answers[0].headers["retry-after"]) > 0
    ready_again()


@pytest.mark.vm
def test_an_engine_killed_for_memory_comes_back(
    machine: Machine, ready_again: ReadyAgain, record_metric: Callable[..., None]
) -> None:
    """The kernel is told to act as if memory had run out; it takes the engine, not SSH or nginx."""
    before = restarts(machine)
    output(machine, "echo f >/proc/sysrq-trigger")
    started = time.monotonic()
    time.sleep(1)
    ready_again()
    record_metric("engine_back_after_oom", "s", time.monotonic() - started, n=1)
    assert restarts(machine) == before + 1, "something else than the engine was killed"
