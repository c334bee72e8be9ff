"""The engine stops, hangs, dies: readiness tells the truth, errors are readable, and it comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from harness.client.https import ApplianceAddress, open_client
from harness.client.openai_sdk import OpenAISdk
from harness.client.reassemble import BrokenStream, reassemble
from harness.client.sse import SseDecoder
from harness.deadline import Deadline, NotYet, wait_until
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, MODES, Mode, ask, assert_refused, chat, expect_json, text_of
from suites.conformance.guest_facts import output, unit_properties

READY_AGAIN_S = 30.0
"""Stretched for slow accelerators: the model is loaded and asked."""
ENGINE = "slm-engine.service"

hung = pytest.mark.slow("a hung engine is known for one after 5 s")
pytestmark = pytest.mark.usefixtures("machine")

killed = pytest.mark.slow("a killed service comes back after a pause and with a new load of the model")


def wait_for_ready(stranger: httpx.Client, seconds: float) -> float:
    """Seconds until /readyz says 200 again."""
    started = time.monotonic()

    def check(_last_try: bool) -> bool | None:
        try:
            response = stranger.get("/readyz")
        except httpx.TransportError as error:
            raise NotYet(repr(error)) from error
        if response.status_code == 200:
            return True
        raise NotYet(f"{response.status_code} {response.text[:200]}")

    wait_until(check, Deadline.after(seconds), what="/readyz after the engine was gone")
    return time.monotonic() - started


@pytest.fixture(scope="class")
def stopped(machine: Machine, stranger: httpx.Client, stretch: float) -> Iterator[None]:
    """While the checks of a class run, the engine is stopped as an administrator would stop it."""
    output(machine, f"systemctl stop {ENGINE}", timeout=60)
    yield
    output(machine, f"systemctl start {ENGINE}", timeout=READY_AGAIN_S * stretch)
    wait_for_ready(stranger, READY_AGAIN_S * stretch)


@pytest.mark.usefixtures("stopped")
class TestWhileTheEngineIsStopped:
    def test_readiness_is_503(self, stranger: httpx.Client) -> None:
        assert_refused(stranger.get("/readyz"), 503)

    @pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
    def test_a_chat_is_503_in_openais_shape(self, client: httpx.Client, stream: bool) -> None:
        response = client.post(CHAT, json=chat(stream=stream))
        assert_refused(response, 503)
        assert int(response.headers["retry-after"]) > 0

    def test_the_model_list_is_503(self, client: httpx.Client) -> None:
        assert_refused(client.get("/v1/models"), 503)

    def test_strangers_are_still_refused(self, stranger: httpx.Client) -> None:
        assert_refused(stranger.get("/v1/models"), 401)

    @pytest.mark.parametrize("major", ["2", "3"])
    def test_openai_python_raises_its_server_error(
        self, major: str, sdks: dict[str, OpenAISdk], appliance: ApplianceAddress
    ) -> None:
        answer = sdks[major].call("chat.completions.create", model=appliance.model, **chat())
        assert answer.exception is not None
        assert (answer.exception.name, answer.exception.status) == ("InternalServerError", 503)


def test_a_started_engine_is_ready_once_its_model_answers(
    stranger: httpx.Client, client: httpx.Client
) -> None:
    expect_json(stranger.get("/readyz"))
    assert text_of(ask(client, "plain", chat(max_tokens=1)))


@hung
def test_a_hung_engine_is_not_ready(machine: Machine, stranger: httpx.Client, stretch: float) -> None:
    output(machine, f"systemctl kill --kill-whom=main --signal=STOP {ENGINE}")
    try:
        assert_refused(stranger.get("/readyz"), 503)
    finally:
        output(machine, f"systemctl kill --kill-whom=main --signal=CONT {ENGINE}")
    wait_for_ready(stranger, READY_AGAIN_S * stretch)


@killed
def test_a_killed_engine_comes_back_by_itself(
    machine: Machine,
    appliance: ApplianceAddress,
    stranger: httpx.Client,
    stretch: float,
    record_metric: Callable[..., None],
) -> None:
    before = int(unit_properties(machine, [ENGINE])[ENGINE]["NRestarts"])
    decoder, first_token, ended = SseDecoder(), threading.Event(), threading.Event()

    def follow() -> None:
        try:
            with (
                open_client(appliance, read_timeout_s=120) as asking,
                asking.stream(
                    "POST", CHAT, json=chat(max_tokens=4000, stream=True, ignore_eos=True)
                ) as response,
            ):
                for piece in response.iter_raw():
                    decoder.feed(piece, 0.0)
                    first_token.set()
        except httpx.TransportError:
            pass  # an answer that is cut off is what should be seen
        finally:
            ended.set()

    threading.Thread(target=follow, daemon=True).start()
    assert first_token.wait(60 * stretch), "no token came before the engine was killed"
    output(machine, f"systemctl kill --kill-whom=main --signal=KILL {ENGINE}")
    killed = time.monotonic()
    assert_refused(stranger.get("/readyz"), 503)
    assert ended.wait(5 * stretch), "the client of a dead engine was left waiting"
    with pytest.raises(BrokenStream):
        reassemble(decoder.events)
    wait_for_ready(stranger, READY_AGAIN_S * stretch)
    record_metric("ready_after_kill", "s", time.monotonic() - killed, n=1)
    assert int(unit_properties(machine, [ENGINE])[ENGINE]["NRestarts"]) == before + 1


@killed
@pytest.mark.parametrize("mode", MODES)
def test_it_serves_again_after_the_kill(client: httpx.Client, mode: Mode) -> None:
    assert text_of(ask(client, mode, chat(max_tokens=1)))


@killed
def test_a_killed_proxy_comes_back_by_itself(
    machine: Machine, appliance: ApplianceAddress, stretch: float
) -> None:
    output(machine, "systemctl kill --kill-whom=main --signal=KILL nginx.service")
    with open_client(appliance, auth="none") as anew:
        wait_for_ready(anew, READY_AGAIN_S * stretch)


def test_nothing_has_failed_after_all_this(machine: Machine) -> None:
    assert output(machine, "systemctl list-units --failed --no-legend --plain").strip() == ""
