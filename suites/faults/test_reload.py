"""Nginx takes over a new configuration without losing an answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.ask import chat
from suites.conformance.engine_loopback import UNTIL_BUSY
from suites.conformance.guest_facts import output
from suites.faults.running_stream import SILENCE_S, running_streams

STREAMS = 20
WORKERS = "pgrep --full 'nginx: worker process$'"


def test_a_reload_during_20_streams_loses_none(
    appliance: ApplianceAddress, machine: Machine, stretch: float, record_metric: Callable[..., None]
) -> None:
    before = set(output(machine, WORKERS).split())
    body = chat(max_tokens=4, stream=True, ignore_eos=True)
    with running_streams(appliance, STREAMS, body) as streams:
        output(machine, UNTIL_BUSY, timeout=60 * stretch)
        for _ in range(2):
            assert not all(stream.ended.is_set() for stream in streams), "no stream was left to be lost"
            output(machine, "systemctl reload nginx.service")
            time.sleep(0.2)
        for stream in streams:
            assert stream.ended.wait(SILENCE_S * stretch), "a stream never ended"
    lost = [stream.fault() for stream in streams if stream.fault()]
    record_metric("streams_lost_by_reload", "streams", len(lost), n=STREAMS)
    assert not lost, f"{len(lost)} of {STREAMS} were lost, the first: {lost[0]}"
    assert before.isdisjoint(output(machine, WORKERS).split()), "nginx was not reloaded"
