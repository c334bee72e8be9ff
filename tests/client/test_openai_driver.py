"""The drivers of openai-python 2.x and 3.x against a fake OpenAI endpoint over real TLS."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import Reply, answer, event_stream

from harness.client.https import ApplianceAddress
from harness.client.openai_sdk import (
    MAJORS,
    Mode,
    OpenAISdk,
    SdkCallFailed,
    interpreter,
    open_appliance_sdk,
    open_sdk,
)
from harness.errors import HarnessError

CALL = "chat.completions.create"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PIECES = [
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": end}],
    }
    for delta, end in [({"role": "assistant", "content": ""}, None), ({"content": "Hi"}, None), ({}, "stop")]
]
STREAM = [
    (0.1 * number, b": ping\n\ndata: " + json.dumps(piece).encode() + b"\n\n")
    for number, piece in enumerate(PIECES)
]
STREAM.append((0.3, b"data: [DONE]\n\n"))
BODY = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
}


def fake_endpoint(request: bytes, connection: socket.socket) -> None:
    head, _, body = request.partition(b"\r\n\r\n")
    if b"Bearer Passw0rd-of-a-test" not in head:
        error = {"error": {"message": "no", "type": "authentication_error", "code": "invalid_api_key"}}
        connection.sendall(answer("401 Unauthorized", json.dumps(error).encode()))
    elif not head.startswith(b"POST /v1/chat/completions "):
        connection.sendall(answer("404 Not Found", b'{"error": {"message": "no such route"}}'))
    elif json.loads(body).get("stream"):
        event_stream(STREAM)(request, connection)
    else:
        connection.sendall(answer("200 OK", json.dumps(BODY).encode()))


@pytest.fixture(params=MAJORS)
def sdk(
    request: pytest.FixtureRequest, appliance: Callable[[Reply], ApplianceAddress]
) -> Iterator[OpenAISdk]:
    with open_appliance_sdk(appliance(fake_endpoint), request.param) as running:
        assert running.version.split(".")[0] == request.param
        yield running


def test_every_kind_of_call(sdk: OpenAISdk) -> None:
    """One driver start (a second of imports) serves all cases, as in a real run."""
    for mode in ("sync", "async"):
        plain_and_streamed(sdk, mode)
        refused(sdk, mode)
        unknown_route(sdk, mode)
        nobody_listens(sdk, mode)
        untrusted(sdk, mode)


def plain_and_streamed(sdk: OpenAISdk, mode: Mode) -> None:
    assert sdk.call(CALL, mode=mode, **CHAT).value()["choices"][0]["message"]["content"] == "Hi"
    streamed = sdk.call(CALL, mode=mode, stream=True, **CHAT)
    assert streamed.exception is None, streamed.exception
    assert streamed.chunks is not None
    assert [piece["choices"][0]["delta"] for piece in streamed.chunks] == [
        piece["choices"][0]["delta"] for piece in PIECES
    ]
    first, second, third = streamed.chunk_times_s
    assert second - first == pytest.approx(0.1, abs=0.04)
    assert third - second == pytest.approx(0.1, abs=0.04)


def refused(sdk: OpenAISdk, mode: Mode) -> None:
    answered = sdk.call(CALL, mode=mode, api_key="wrong", **CHAT)
    assert answered.exception is not None
    assert (answered.exception.name, answered.exception.status) == ("AuthenticationError", 401)
    assert answered.exception.body["type"] == "authentication_error"
    assert "APIStatusError" in answered.exception.bases
    with pytest.raises(SdkCallFailed, match=r"AuthenticationError \(status 401\)"):
        answered.value()


def unknown_route(sdk: OpenAISdk, mode: Mode) -> None:
    answered = sdk.call("embeddings.create", mode=mode, model="m", input="x")
    assert answered.exception is not None
    assert answered.exception.name == "NotFoundError"


def nobody_listens(sdk: OpenAISdk, mode: Mode) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        answered = sdk.call(
            CALL, mode=mode, base_url=f"https://127.0.0.1:{reserved.getsockname()[1]}/v1", **CHAT
        )
    assert answered.exception is not None
    assert answered.exception.name == "APIConnectionError"


def untrusted(sdk: OpenAISdk, mode: Mode) -> None:
    answered = sdk.call(CALL, mode=mode, default_trust=True, **CHAT)
    assert answered.exception is not None
    assert answered.exception.name == "APIConnectionError"
    assert "CERTIFICATE_VERIFY_FAILED" in (answered.exception.cause or "")


def test_the_secret_is_neither_in_arguments_nor_in_the_environment(
    appliance: Callable[[Reply], ApplianceAddress],
) -> None:
    address = appliance(fake_endpoint)
    with open_appliance_sdk(address, "3") as sdk:
        process = Path("/proc") / str(sdk.process_id)
        visible = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert b"openai_driver.py" in visible
    assert address.password.encode() not in visible


def test_a_driver_that_does_not_answer_is_bounded(appliance: Callable[[Reply], ApplianceAddress]) -> None:
    def stall(_request: bytes, connection: socket.socket) -> None:
        connection.recv(1)

    with open_appliance_sdk(appliance(stall), "3") as sdk, pytest.raises(HarnessError, match="within 0 s"):
        sdk.call(CALL, deadline_s=0.3, **CHAT)


def test_an_interpreter_without_the_package_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with (
        pytest.raises(HarnessError, match="No module named 'openai'"),
        open_sdk(bare, api_url="https://127.0.0.1:1/v1", ca_file=tmp_path / "none", api_key="k"),
    ):
        pass


def test_a_missing_interpreter_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLM_OPENAI2_PYTHON", str(tmp_path / "absent"))
    with pytest.raises(HarnessError) as raised:
        interpreter("2")
    assert raised.value.hint == "run `make setup`"
