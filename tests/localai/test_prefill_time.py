"""LocalAI names the role at once and is silent then: its first event says nothing of the prompt."""

from __future__ import annotations

from dataclasses import replace

import httpx

from harness.client.node import NodeAnswer
from suites.conformance.test_slow_prefill import Reading

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"ok"}}]}\n\n'


def test_a_prompt_is_read_until_the_first_token_not_until_the_first_event() -> None:
    answer = NodeAnswer(
        node="v20",
        status=200,
        headers={},
        headers_s=0.1,
        chunks=((0.2, len(ROLE)), (64.0, len(TEXT))),
        body=(ROLE + TEXT).decode(),
        total_s=64.1,
        error=None,
    )
    reading = Reading(answer, httpx.Response(200), plain_s=64.0, tokens=320, is_long=True)
    assert reading.read_s == 64.0
    at_once = replace(answer, chunks=((0.2, len(ROLE) + len(TEXT)),))
    assert replace(reading, node=at_once).read_s == 0.2
