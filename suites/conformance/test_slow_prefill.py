"""A long prompt on a slow machine: nobody on the way gives up while it is being read.

Node's fetch ends a request after 300 s of silence, Nginx by default after 60 s, Cloudflare after 100 s.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from harness.client.https import ApplianceAddress, open_client
from harness.client.node import NodeAnswer, start_fetch
from harness.client.reassemble import reassemble
from harness.client.sse import longest_silence_s, silence_started_s, ttft_s
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, chat, text_of
from suites.conformance.engine_loopback import engine_can, engine_settings

pytestmark = pytest.mark.slow("whether a prompt that is read for a minute survives takes a minute to see")

LONG_S = 60.0
"""What the prompt's reading has to exceed."""
AIM_S = 64.0
"""What is aimed at: the speed is known from a short prompt only."""
BRIEF_S = 8.0
"""What is read on a machine that is too fast to read anything for a minute."""
HEADERS_WITHIN_S = 1.0
LONGEST_SILENCE_S = 15.0
CONTEXT_RESERVE = 200


@dataclass(frozen=True)
class Reading:
    """One prompt, read for Node's fetch (streamed) while a plain request waits for the same slot."""

    node: NodeAnswer
    plain: httpx.Response
    plain_s: float
    tokens: int
    is_long: bool

    @property
    def read_s(self) -> float:
        """From sending to the first token. Before it come comments, and LocalAI names the role."""
        return ttft_s(self.node.events())


@pytest.fixture(scope="module")
def reading(appliance: ApplianceAddress, machine: Machine, speed: dict[str, float]) -> Reading:
    context = int(engine_settings(machine)["client_context"])
    most = context - CONTEXT_RESERVE
    tokens = int(speed["prompt_per_second"] * AIM_S)
    if tokens > most:
        return read_prompt(appliance, min(most, int(speed["prompt_per_second"] * BRIEF_S)), is_long=False)
    found = read_prompt(appliance, tokens, is_long=True)
    if found.read_s <= LONG_S:  # larger batches are read faster: once more, by the speed seen now
        found = read_prompt(appliance, min(most, int(tokens * AIM_S / found.read_s)), is_long=True)
    return found


def read_prompt(appliance: ApplianceAddress, tokens: int, *, is_long: bool) -> Reading:
    """Both requests name slot 0: the plain one is not begun before the streamed one is done, so not a byte
    comes for it until then, and the prompt is read only once."""
    never_asked_before = f"{secrets.token_hex(8)}:" + " word" * tokens
    # The grammar dictates the answer, so that what a model says to nonsense does not matter.
    body = chat(never_asked_before, max_tokens=4, id_slot=0, grammar='root ::= "ok"')
    plain: dict[str, Any] = {}

    def ask_plain() -> None:
        with open_client(appliance, read_timeout_s=20 * AIM_S) as client:
            started = time.perf_counter()
            plain["response"] = client.post(CHAT, json=body)
            plain["seconds"] = time.perf_counter() - started

    usage = {"include_usage": True}
    with start_fetch(appliance, CHAT, {**body, "stream": True, "stream_options": usage}) as node:
        node.wait_until_asked(AIM_S)
        time.sleep(1)  # so that the streamed request has the slot
        waiting = threading.Thread(target=ask_plain, daemon=True)
        waiting.start()
        answer = node.answer(10 * AIM_S)
        waiting.join(10 * AIM_S)
    assert answer.error is None, f"Node's fetch gave up after {answer.total_s:.0f} s: {answer.error}"
    assert answer.events(), f"Node's fetch got status {answer.status} and no event: {answer.body[:500]!r}"
    assert "response" in plain, "the plain request was not answered"
    return Reading(answer, plain["response"], plain["seconds"], tokens, is_long)


def test_headers_come_at_once(reading: Reading) -> None:
    assert reading.node.status == 200, reading.node.body[:500]
    assert reading.node.headers_s is not None
    assert reading.node.headers_s <= HEADERS_WITHIN_S, (
        f"headers after {reading.node.headers_s:.2f} s, first token after {reading.read_s:.1f} s"
    )


def test_it_is_never_silent_for_long(reading: Reading, machine: Machine) -> None:
    if not engine_can(machine, "speak_while_reading"):
        pytest.skip("this engine is silent while it reads a prompt; for how long is recorded below")
    times = (reading.node.byte_times_s, reading.node.headers_s or 0.0, reading.node.total_s)
    silence = longest_silence_s(*times)
    assert silence <= LONGEST_SILENCE_S, (
        f"{silence:.1f} s without a byte from {silence_started_s(*times):.1f} s on, "
        f"{reading.tokens} tokens read in {reading.read_s:.1f} s"
    )


def test_the_answer_is_whole_in_the_end(reading: Reading) -> None:
    body = reassemble(reading.node.events(), usage_expected=True)
    assert text_of(body) == "ok"
    assert body["usage"]["prompt_tokens"] >= reading.tokens


def test_the_plain_request_beside_it_is_answered_too(reading: Reading) -> None:
    assert reading.plain.status_code == 200, reading.plain.text[:500]
    assert text_of(reading.plain.json()) == "ok"


def test_the_reading_is_recorded(reading: Reading, record_metric: Callable[..., None]) -> None:
    silence = longest_silence_s(reading.node.byte_times_s, reading.node.headers_s or 0, reading.node.total_s)
    record_metric("slow_prefill_read", "s", reading.read_s, n=1)
    record_metric("slow_prefill_tokens", "tok", reading.tokens, n=1)
    record_metric("slow_prefill_headers", "s", reading.node.headers_s, n=1)
    record_metric("slow_prefill_longest_silence", "s", silence, n=1)
    record_metric("plain_request_silence", "s", reading.plain_s, n=1)
    assert reading.node.node, "Node did not say which version it is"


def test_a_prompt_that_is_read_for_more_than_60_s_survives(reading: Reading, speed: dict[str, float]) -> None:
    if not reading.is_long:
        pytest.skip(
            f"this machine reads {speed['prompt_per_second']:.0f} tokens/s, its whole context in under 60 s"
        )
    assert reading.read_s > LONG_S, (
        f"{reading.tokens} tokens took {reading.read_s:.0f} s only: nothing is shown"
    )
    assert reading.plain_s > LONG_S, (
        f"the plain request waited {reading.plain_s:.0f} s only: nothing is shown"
    )
    assert reading.plain.status_code == 200
