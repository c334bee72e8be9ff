"""Stopping, dying, shutting down while answers run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from harness.cell.own_guests import OpenGuest
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output
from suites.faults.conftest import ReadyAgain
from suites.faults.running_stream import CONNECT_S, any_event, endless, running_streams
from suites.lifecycle.living_guest import LivingGuest, address_of, switch_on

STOPPED_WITHIN_S = 10.0


def test_the_services_stop_within_10_s_while_answers_run(
    machine: Machine,
    appliance: ApplianceAddress,
    stretch: float,
    ready_again: ReadyAgain,
    record_metric: Callable[..., None],
) -> None:
    with running_streams(appliance, 8, endless()) as streams:
        assert any_event(streams, CONNECT_S * stretch)
        started = time.monotonic()
        output(machine, "systemctl stop nginx.service slm-engine.service", timeout=60)
        seconds = time.monotonic() - started
    record_metric("services_stopped_with_streams", "s", seconds, n=1)
    assert seconds <= STOPPED_WITHIN_S
    failed = output(machine, "systemctl list-units --failed --no-legend --plain")
    assert failed.strip() == "", "an ordinary stop is no failure"
    output(machine, "systemctl start slm-engine.service nginx.service", timeout=60 * stretch)
    ready_again()


def test_a_killed_nginx_is_back_by_itself(
    machine: Machine,
    appliance: ApplianceAddress,
    stretch: float,
    ready_again: ReadyAgain,
    record_metric: Callable[..., None],
) -> None:
    with running_streams(appliance, 2, endless()) as streams:
        assert any_event(streams, CONNECT_S * stretch)
        output(machine, "systemctl kill --signal=KILL nginx.service")
        killed = time.monotonic()
        for stream in streams:
            assert stream.ended.wait(10 * stretch), "a client of a dead nginx was left waiting"
            assert stream.cut, "its answer looked whole"
    ready_again()
    record_metric("nginx_back_after_kill", "s", time.monotonic() - killed, n=1)


def test_the_machine_shuts_down_within_10_s_while_answers_run(
    open_guest: OpenGuest, stretch: float, tmp_path: Path, record_metric: Callable[..., None]
) -> None:
    with open_guest() as machine:
        guest = LivingGuest(machine, stretch, tmp_path)
        appliance = address_of(guest, switch_on(guest))
        with running_streams(appliance, 4, endless()) as streams:
            assert any_event(streams, CONNECT_S * stretch)
            started = time.monotonic()
            machine.stop(60 * stretch)
            seconds = time.monotonic() - started
        assert not any(b"[DONE]" in stream.body for stream in streams)
    record_metric("shutdown_with_streams", "s", seconds, n=1)
    assert seconds <= STOPPED_WITHIN_S * stretch
