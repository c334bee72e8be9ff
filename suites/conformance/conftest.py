"""Order and session-wide clients of the conformance suite; machines come from the root conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from harness.client.https import ApplianceAddress, open_client, read_stream
from harness.client.openai_sdk import MAJORS, OpenAISdk, StartedDriver, interpreter, set_up_for, start_driver
from harness.client.sse import Stream, output_times_s
from harness.errors import HarnessError
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, chat, expect_json, long_chat, whole
from suites.conformance.guest_facts import unit_properties
from suites.conformance.silent_connections import SilentConnections, open_silent_connections

ORDER = (
    "lifecycle",
    "units",
    "sandbox",
    "sockets",
    "limits",
    "certificate",
    "certificate_selfsigned",
    "tls_profile",
    "http_port",
    "auth",
    "routes",
    "errors",
    "cors",
    "headers",
    "patience",
    "engine",
    "openai_api",
    "openai_python",
    "documented_clients",
    "sse",
    "throughput",
    "slow_prefill",
    "recovery",
    "secrets",
)
"""Cheap topics first, those which stop the engine late, and secrets last: by then every log is written."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    # Those of other suites in the same cell stay where they are.
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(here)]

    def rank(item: pytest.Item) -> int:
        topic = item.path.stem.removeprefix("test_")
        return ORDER.index(topic) if topic in ORDER else len(ORDER)

    ours = sorted((items[place] for place in places), key=rank)
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def client(appliance: ApplianceAddress) -> Iterator[httpx.Client]:
    """A client with the administrator's right; one connection for the whole session."""
    with open_client(appliance, read_timeout_s=180) as opened:
        yield opened


@pytest.fixture(scope="session")
def stranger(appliance: ApplianceAddress) -> Iterator[httpx.Client]:
    """A client without credentials."""
    with open_client(appliance, auth="none", read_timeout_s=60) as opened:
        yield opened


@pytest.fixture(scope="session")
def units(machine: Machine) -> dict[str, dict[str, str]]:
    """Properties of the appliance's units as they are at the start of the suite."""
    return unit_properties(machine)


@pytest.fixture(scope="session", autouse=True)
def sdk_drivers(request: pytest.FixtureRequest) -> Iterator[dict[str, StartedDriver]]:
    """The drivers of the SDKs, started before the machine is: they load their packages while it boots."""
    wanted = any("sdks" in getattr(item, "fixturenames", ()) for item in request.session.items)
    with ExitStack() as running:
        pythons: dict[str, Path] = {}
        # What is missing on this host is told by the checks that need it.
        with suppress(HarnessError):
            pythons = {major: interpreter(major) for major in (MAJORS if wanted else ())}
        yield {major: running.enter_context(start_driver(python)) for major, python in pythons.items()}


@pytest.fixture(scope="session")
def sdks(appliance: ApplianceAddress, sdk_drivers: dict[str, StartedDriver]) -> dict[str, OpenAISdk]:
    """openai-python 2.x and 3.x, each running in its own interpreter."""
    for major in MAJORS:
        interpreter(major)
    return {major: set_up_for(appliance, started) for major, started in sdk_drivers.items()}


@pytest.fixture(scope="session")
def silent_connections(appliance: ApplianceAddress) -> Iterator[SilentConnections]:
    """Opened by the first check that asks for them; a later one looks what became of them."""
    with open_silent_connections(appliance) as opened:
        yield opened


@pytest.fixture(scope="session")
def stream(client: httpx.Client, accelerator: str) -> Stream:
    """One long streamed answer through the proxy, on a connection that is there already."""
    client.get("/v1/models")
    return read_stream(client, CHAT, long_chat(accelerator))


@pytest.fixture(scope="session")
def speed(client: httpx.Client) -> dict[str, float]:
    """The engine's own timings of one answer to a prompt nobody asked before; a client's, of an engine that
    tells none, in the same words: tokens and tokens per second."""
    prompt = (
        "Three colours are wanted: that of grass in spring, that of a clear sky at noon, "
        "and that of snow which fell last night. Give each of them in one word, in this order."
    )
    asked = chat(prompt, max_tokens=5)
    body = expect_json(client.post(CHAT, json=asked))
    if "timings" in body:
        return {name: float(value) for name, value in body["timings"].items()}
    return seen_speed(client, f"Think of winter first. {prompt}")


def seen_speed(client: httpx.Client, prompt: str) -> dict[str, float]:
    """Both speeds by a client's clock: the prompt's tokens until the first event with output, and the tokens
    after it until the last one."""
    asked = chat(prompt, max_tokens=5, stream=True, stream_options={"include_usage": True}, ignore_eos=True)
    stream = read_stream(client, CHAT, asked)
    usage, times = whole(stream)["usage"], output_times_s(stream.events)
    after_first = usage["completion_tokens"] - 1
    return {
        "prompt_n": float(usage["prompt_tokens"]),
        "prompt_per_second": usage["prompt_tokens"] / times[0],
        "predicted_n": float(after_first),
        "predicted_per_second": after_first / (times[-1] - times[0]),
    }
