"""openai-python 2.x and 3.x, sync and async, plain and streamed, without retries."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from harness.client.https import ApplianceAddress
from harness.client.openai_sdk import MAJORS, Mode, OpenAISdk, SdkAnswer
from suites.conformance.ask import COUNT, chat, overlong

CREATE = "chat.completions.create"

every_major = pytest.mark.parametrize("major", MAJORS)
both_kinds = pytest.mark.parametrize("kind", ["sync", "async"])


def text_of(answer: SdkAnswer) -> str:
    """The generated text, plain or streamed."""
    assert answer.exception is None, answer.exception
    if answer.chunks is None:
        return str(answer.result["choices"][0]["message"]["content"])
    deltas = [chunk["choices"][0]["delta"] for chunk in answer.chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def finish_reason(answer: SdkAnswer) -> str:
    """Why it ended, plain or streamed."""
    assert answer.exception is None, answer.exception
    if answer.chunks is None:
        return str(answer.result["choices"][0]["finish_reason"])
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in answer.chunks if chunk["choices"]]
    return next(reason for reason in reasons if reason)


@pytest.fixture
def sdk(sdks: dict[str, OpenAISdk], major: str) -> OpenAISdk:
    return sdks[major]


@every_major
def test_it_is_the_version_we_mean(sdk: OpenAISdk, major: str) -> None:
    assert sdk.version.split(".")[0] == major


@every_major
@both_kinds
def test_it_lists_the_model(sdk: OpenAISdk, kind: Mode, appliance: ApplianceAddress) -> None:
    listed = sdk.call("models.list", mode=kind).value()
    assert [model["id"] for model in listed["data"]] == [appliance.model]


@every_major
@both_kinds
def test_it_chats(sdk: OpenAISdk, kind: Mode, appliance: ApplianceAddress) -> None:
    answer = sdk.call(CREATE, mode=kind, model=appliance.model, **chat(max_tokens=1))
    assert text_of(answer).strip()
    assert finish_reason(answer) == "length"


@every_major
@both_kinds
def test_it_chats_streamed_and_gets_usage_at_the_end(
    sdk: OpenAISdk, kind: Mode, appliance: ApplianceAddress
) -> None:
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    answer = sdk.call(CREATE, mode=kind, model=appliance.model, **usage, **chat(max_tokens=1))
    assert text_of(answer).strip()
    assert finish_reason(answer) == "length"
    assert answer.chunks is not None
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 1


@every_major
def test_it_can_hold_the_answer_to_a_schema(sdk: OpenAISdk, appliance: ApplianceAddress) -> None:
    schema = {"name": "answer", "schema": {"type": "integer", "enum": [1, 2]}}
    answer = sdk.call(
        CREATE,
        mode="async",
        model=appliance.model,
        response_format={"type": "json_schema", "json_schema": schema},
        **chat(max_tokens=40),
    )
    assert text_of(answer).strip() in ("1", "2")


@every_major
def test_it_stops_at_a_stop_word(sdk: OpenAISdk, appliance: ApplianceAddress) -> None:
    answer = sdk.call(CREATE, model=appliance.model, stop=[".", "\n"], **chat(max_tokens=6))
    assert finish_reason(answer) == "stop"
    assert not {".", "\n"} & set(text_of(answer)), text_of(answer)


@pytest.fixture(scope="module")
def seeded() -> set[str]:
    """What was answered to the seeded question, by either version."""
    return set()


@every_major
def test_the_same_seed_gives_the_same_answer(
    sdk: OpenAISdk, appliance: ApplianceAddress, seeded: set[str]
) -> None:
    asked = {**chat(max_tokens=3), "temperature": 0.8, "seed": 11}
    seeded.add(text_of(sdk.call(CREATE, model=appliance.model, **asked)))
    assert len(seeded) == 1, f"{seeded}"


@every_major
def test_it_may_offer_tools(sdk: OpenAISdk, appliance: ApplianceAddress) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    answer = sdk.call(CREATE, model=appliance.model, tools=[tool], tool_choice="auto", **chat(max_tokens=1))
    assert text_of(answer)


@every_major
def test_it_completes_text_the_old_way(sdk: OpenAISdk, appliance: ApplianceAddress) -> None:
    answer = sdk.call(
        "completions.create", model=appliance.model, prompt="1, 2, 3, 4,", max_tokens=2, temperature=0
    )
    assert "5" in answer.value()["choices"][0]["text"]


FAULTS: dict[str, tuple[str, dict[str, Any], str, int]] = {
    "a wrong password": (CREATE, {"api_key": "wrong-password", **chat()}, "AuthenticationError", 401),
    "a route that does not exist": ("embeddings.create", {"input": COUNT}, "NotFoundError", 404),
    "messages of a wrong form": (
        CREATE,
        {"messages": [{"role": "user"}], "max_tokens": 1},
        "BadRequestError",
        400,
    ),
    "a temperature in words": (CREATE, {**chat(), "temperature": "hot"}, "BadRequestError", 400),
}


@every_major
@both_kinds
@pytest.mark.parametrize("fault", FAULTS)
def test_its_own_exception_tells_of(
    fault: str, sdk: OpenAISdk, kind: Mode, appliance: ApplianceAddress
) -> None:
    call, arguments, name, status = FAULTS[fault]
    assert_raised(sdk.call(call, mode=kind, model=appliance.model, **arguments), name, status)


def assert_raised(answer: SdkAnswer, name: str, status: int | None) -> None:
    __tracebackhide__ = True
    assert answer.exception is not None, f"it was answered: {answer.result}"
    assert (answer.exception.name, answer.exception.status) == (name, status), answer.exception.message
    if status is not None:
        assert answer.exception.body["message"], f"the SDK could not read the error: {answer.exception}"


@every_major
@both_kinds
@pytest.mark.parametrize("stream", [False, True])
def test_its_own_exception_tells_of_a_prompt_longer_than_the_context(
    stream: bool, sdk: OpenAISdk, kind: Mode, appliance: ApplianceAddress, largest_context: int
) -> None:
    said = [{"role": "user", "content": overlong(largest_context)}]
    answer = sdk.call(CREATE, mode=kind, model=appliance.model, messages=said, stream=stream)
    assert_raised(answer, "BadRequestError", 400)


@every_major
@both_kinds
@pytest.mark.usefixtures("cell")
def test_its_own_exception_tells_of_a_certificate_it_does_not_trust(
    sdk: OpenAISdk, kind: Mode, appliance: ApplianceAddress
) -> None:
    """Cells have certificates nobody knows; the one of an endpoint may be known to everybody."""
    answer = sdk.call(CREATE, mode=kind, model=appliance.model, default_trust=True, **chat())
    assert_raised(answer, "APIConnectionError", None)


@every_major
def test_a_closed_port_is_a_connection_error(sdk: OpenAISdk, appliance: ApplianceAddress) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening, so connections are refused
        address = f"https://127.0.0.1:{reserved.getsockname()[1]}/v1"
        answer = sdk.call(CREATE, base_url=address, model=appliance.model, **chat())
    assert answer.exception is not None
    assert answer.exception.name == "APIConnectionError"
