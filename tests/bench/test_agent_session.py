"""The agent's session: it grows at its end only, fits its context, and its cache share is as counted."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from harness.bench.agent_session import (
    Session,
    cache_by_turn,
    make_session,
    request_body,
    session_cache_share,
)
from harness.bench.seeded_text import count_pieces
from harness.bench.timeline import Timing
from harness.errors import HarnessError

CONTEXTS = (4096, 8192, 32768)


def bodies(session: Session, answers: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [request_body(session, turn, model="m", answers=answers) for turn in range(session.turns)]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("answers", [(), ("I see.", "", "All good.")])
def test_each_turn_repeats_the_one_before_and_adds_to_its_end(context: int, answers: tuple[str, ...]) -> None:
    sent = bodies(make_session(context), answers)
    assert len(sent) >= 6
    for before, after in itertools.pairwise(sent):
        assert after["messages"][: len(before["messages"])] == before["messages"]
        assert len(after["messages"]) == len(before["messages"]) + 2
        assert {**after, "messages": 0} == {**before, "messages": 0}


@pytest.mark.parametrize("context", CONTEXTS)
def test_it_looks_like_what_a_coding_agent_sends(context: int) -> None:
    body = bodies(make_session(context))[-1]
    assert 6 <= len(body["tools"]) <= 10
    for tool in body["tools"]:
        jsonschema.Draft202012Validator.check_schema(tool["function"]["parameters"])
    offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in body["tools"]}
    system, task, *steps = body["messages"]
    assert (system["role"], task["role"]) == ("system", "user")
    assert count_pieces(system["content"]) > 100
    for call, result in zip(steps[::2], steps[1::2], strict=True):
        function = call["tool_calls"][0]["function"]
        jsonschema.validate(json.loads(function["arguments"]), offered[function["name"]])
        assert (call["role"], result["role"]) == ("assistant", "tool")
        assert result["tool_call_id"] == call["tool_calls"][0]["id"]
        assert result["content"]
    assert "{" not in task["content"]


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_last_turn_uses_the_context_and_fits_into_it(context: int) -> None:
    session = make_session(context)
    pieces = count_pieces(json.dumps(bodies(session)[-1]))
    assert 0.6 * context < pieces + session.answer_tokens < context


def test_it_depends_on_its_seed_alone() -> None:
    assert make_session(8192, seed=3) == make_session(8192, seed=3)
    assert make_session(8192, seed=3) != make_session(8192, seed=4)


def test_what_the_model_said_goes_back_to_it() -> None:
    session = make_session(8192)
    messages = request_body(session, 2, model="m", answers=("I said so.",))["messages"]
    assert [messages[place]["content"] for place in (2, 4)] == ["I said so.", session.steps[1].said]


def test_too_small_a_context_and_too_many_turns_are_refused() -> None:
    with pytest.raises(HarnessError, match="no room for an agent's session of 8 turns"):
        make_session(1024)
    with pytest.raises(ValueError, match="not 40"):
        make_session(8192, turns=40)


def turn(prompt: int, cached: int | None, out: int = 10) -> Timing:
    return Timing(
        ttft_s=0.1,
        itl_s=(),
        tpot_s=None,
        e2e_s=0.1,
        tokens_out=out,
        prompt_tokens=prompt,
        cached_tokens=cached,
        server={},
        connect_s=None,
        tls_s=None,
        bursts=0,
        head_s=0,
        output_events=1,
        pings=0,
        finish_reason="stop",
        cpu_wait_s=None,
    )


def test_the_cache_share_is_of_the_prompts_that_could_have_been_cached() -> None:
    timings = [turn(1000, 0), turn(1200, 1000), turn(1500, 1210)]
    first, second, third = cache_by_turn(timings)
    assert (first.share, first.kept) == (0, None)
    assert (second.share, second.kept) == (1000 / 1200, 1000 / 1010)
    assert (third.known_tokens, third.kept) == (1210, 1.0)
    assert session_cache_share(timings) == 2210 / 2700


def test_an_engine_that_does_not_say_has_no_cache_share() -> None:
    with pytest.raises(ValueError, match="does not say"):
        session_cache_share([turn(1000, 0), replace(turn(1200, 0), cached_tokens=None)])
    with pytest.raises(ValueError, match="one turn"):
        session_cache_share([turn(1000, 0)])
