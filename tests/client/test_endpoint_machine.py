"""An endpoint is an address: it can be waited for, and everything else is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import make_certificate, serve, server_context

from harness.deadline import Deadline
from harness.errors import ApplianceError, HarnessError
from harness.machine.endpoint import Endpoint, EndpointMachine
from harness.machine.protocol import Machine

CAN = {"kind", "accelerator", "wait_ready", "forward", "save_evidence", "close"}


def endpoint(url: str, trust: Path = Path("trust.pem")) -> Endpoint:
    return Endpoint(url, trust, "Sesame0pen", "model", "selfsigned")


def members() -> dict[str, Any]:
    public = {name: value for name, value in vars(Machine).items() if not name.startswith("_")}
    return {name: value for name, value in public.items() if name not in CAN}


def used(machine: EndpointMachine, name: str, member: Any) -> object:
    if isinstance(member, property):
        return getattr(machine, name)
    parameters = [*inspect.signature(member).parameters.values()][1:]
    needed = [one for one in parameters if one.default is one.empty]
    method: Callable[..., object] = getattr(machine, name)
    return method(*([None] * len(needed)))


@pytest.mark.parametrize("name", members())
def test_what_needs_the_guest_is_refused(name: str) -> None:
    with pytest.raises(HarnessError, match="reached by its API alone") as raised:
        used(EndpointMachine(endpoint("https://a.example")), name, members()[name])
    assert raised.value.exit_code == 2
    assert "qemu or nspawn" in raised.value.hint


@pytest.mark.parametrize(
    ("url", "http_url"),
    [
        ("https://a.example", "http://a.example:80"),
        ("https://[::1]", "http://[::1]:80"),
        ("https://a.example:8443", ""),
    ],
)
def test_port_80_is_known_only_beside_443(url: str, http_url: str) -> None:
    assert endpoint(url).address.http_url == http_url
    machine = EndpointMachine(endpoint(url))
    assert machine.forward(443).host == endpoint(url).address.host
    if http_url:
        assert machine.forward(80).port == 80
    else:
        with pytest.raises(HarnessError, match="port 80"):
            machine.forward(80)


def test_its_password_shows_in_no_repr() -> None:
    assert "Sesame" not in repr(endpoint("https://a.example"))
    assert "Sesame" not in repr(endpoint("https://a.example").address)


@pytest.mark.parametrize(("status", "ready"), [("200 OK", True), ("503 Service Unavailable", False)])
def test_it_is_waited_for_without_the_password(tmp_path: Path, status: str, ready: bool) -> None:
    certificate, key = make_certificate(tmp_path)
    asked: list[bytes] = []

    def reply(request: bytes, connection: Any) -> None:
        asked.append(request)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    with serve(reply, server_context(certificate, key)) as port:
        machine = EndpointMachine(endpoint(f"https://127.0.0.1:{port}", certificate))
        if ready:
            assert machine.wait_ready(Deadline.after(10)).power_on_to_ready_s is None
        else:
            with pytest.raises(ApplianceError, match="/readyz answers 503"):
                machine.wait_ready(Deadline.after(0.3))
    assert asked
    assert not any(b"uthorization" in request or b"Sesame" in request for request in asked)
