"""Streaming through Nginx: each event leaves when it is made, and leaving clients free the engine."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import httpx
import pytest

from harness.client.https import ApplianceAddress, open_client, open_tls, read_stream, request_bytes
from harness.client.sse import (
    BURST_GAP_S,
    Event,
    Stream,
    burst_share,
    median_gap_s,
    output_times_s,
    ttft_s,
)
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, chat, long_chat, whole
from suites.conformance.engine_loopback import (
    ENGINE_CURL,
    ENGINE_URL,
    UNTIL_BUSY,
    WITH_ENGINE,
    is_computing,
)
from suites.conformance.guest_facts import output
from suites.conformance.routes import ALLOWED

FREED_WITHIN_S = 2.0
PLAIN_FREED_WITHIN_S = 4.0
"""llama-server looks for clients of plain requests once a second, and then finishes its step."""
EARLY_LOOK = 0.4
"""Share of those times after which a quick engine has noticed already."""
SLOWEST_RATIO = 0.8
"""Least ratio of the ITL's median through the proxy to the engine's own: less means bursts."""
LATEST_FIRST = 0.75
"""Share of the answer's time after which its first token must have come: what collects an answer brings its
first with the last. Reading the prompt took half of the time on a host that others used, too."""
TRIES = 3
"""Two runs one after the other differ when the host is busy; a buffering proxy fails every pair."""


def straight_from_the_engine(machine: Machine) -> list[Event]:
    """The same request inside the guest, each line with the time it was read."""
    command = (
        f"{WITH_ENGINE} {ENGINE_CURL} --silent --no-buffer --max-time 300 "
        "-H 'Content-Type: application/json' --data-binary @- "
        f'{ENGINE_URL}{CHAT} | while IFS= read -r line; do echo "$EPOCHREALTIME $line"; done'
    )
    result = machine.run(command, timeout=320, input=json.dumps(long_chat(machine.accelerator)).encode())
    assert result.exit_status == 0, result.stderr
    lines = [line.partition(" ") for line in result.stdout.splitlines()]
    return [
        Event(text.removeprefix("data: "), float(at)) for at, _, text in lines if text.startswith("data: ")
    ]


def test_the_stream_keeps_every_rule_of_the_api(stream: Stream) -> None:
    body = whole(stream)
    assert body["usage"]["completion_tokens"] >= len(output_times_s(stream.events)) > 4
    assert stream.unterminated == ""
    assert stream.events[-1].is_done


def test_the_stream_says_what_it_is(stream: Stream) -> None:
    assert (stream.header("content-type") or "").startswith("text/event-stream")
    assert stream.header("content-length") is None
    assert stream.header("content-encoding") is None


def test_nothing_follows_the_end_marker(stream: Stream) -> None:
    assert stream.body.endswith(b"data: [DONE]\n\n"), stream.body[-200:]


def test_the_first_token_comes_long_before_the_last(stream: Stream) -> None:
    times = output_times_s(stream.events)
    assert ttft_s(stream.events) <= LATEST_FIRST * times[-1], (
        f"first at {times[0]:.2f} s, last at {times[-1]:.2f} s"
    )


def test_tokens_arrive_one_by_one(stream: Stream) -> None:
    share = burst_share(output_times_s(stream.events))
    assert share <= 0.2, f"{share:.0%} of the events came less than {BURST_GAP_S * 1000:.0f} ms after another"


@dataclass(frozen=True)
class Pair:
    """One answer straight from the engine and one through the proxy."""

    engine_itl_s: float
    proxy_itl_s: float
    engine_bursts: float
    proxy_bursts: float

    @property
    def is_even(self) -> bool:
        return (
            self.proxy_itl_s >= SLOWEST_RATIO * self.engine_itl_s
            and self.proxy_bursts <= self.engine_bursts + 0.05
        )


def test_streams_are_no_burstier_than_straight_from_the_engine(
    stream: Stream, client: httpx.Client, machine: Machine
) -> None:
    pairs: list[Pair] = []
    proxied = output_times_s(stream.events)
    for _ in range(TRIES):
        direct = output_times_s(straight_from_the_engine(machine))
        pairs.append(
            Pair(median_gap_s(direct), median_gap_s(proxied), burst_share(direct), burst_share(proxied))
        )
        if pairs[-1].is_even:
            return
        proxied = output_times_s(read_stream(client, CHAT, long_chat(machine.accelerator)).events)
    pytest.fail(f"the proxy gathers events in {TRIES} of {TRIES} pairs: {pairs}")


def test_nginx_is_told_not_to_buffer(machine: Machine) -> None:
    text = output(machine, "nginx -T 2>/dev/null | grep -E '^[[:space:]]*proxy_buffering[[:space:]]'")
    settings = [" ".join(line.split()).rstrip(";") for line in text.splitlines()]
    assert "proxy_buffering on" not in settings, settings
    assert settings.count("proxy_buffering off") >= len(ALLOWED), f"each API route needs it: {settings}"


def assert_freed(machine: Machine, left_at: float, within_s: float) -> None:
    """Looks early, and once more when the time is up: who keeps asking an engine may keep it from noticing
    who has left."""
    for look_s in (EARLY_LOOK * within_s, within_s):
        time.sleep(max(0.0, left_at + look_s - time.monotonic()))
        if not is_computing(machine):
            return
    pytest.fail(f"{time.monotonic() - left_at:.1f} s after the client left the engine still computes")


@pytest.mark.parametrize("after", ["the first token", "nothing at all"])
def test_a_client_that_leaves_a_stream_frees_its_slot(
    after: str, appliance: ApplianceAddress, machine: Machine
) -> None:
    body = {**long_chat(machine.accelerator), "max_tokens": 4000}
    with open_client(appliance, read_timeout_s=120) as leaving:
        leaving.get("/v1/models")
        with leaving.stream("POST", CHAT, json=body) as response:
            arriving = response.iter_raw()
            while after == "the first token" and b"content" not in next(arriving):
                continue
    assert_freed(machine, time.monotonic(), FREED_WITHIN_S)


def test_a_client_that_leaves_a_plain_request_frees_its_slot(
    appliance: ApplianceAddress, machine: Machine
) -> None:
    body = json.dumps({**chat(max_tokens=4000), "ignore_eos": True}).encode()
    headers = {**appliance.bearer(), "Content-Type": "application/json"}
    with open_tls(appliance) as connection:
        connection.sendall(request_bytes("POST", CHAT, headers, body))
        output(machine, UNTIL_BUSY)
    assert_freed(machine, time.monotonic(), PLAIN_FREED_WITHIN_S)
