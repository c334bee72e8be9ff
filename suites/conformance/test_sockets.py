"""What listens, and what can be reached."""

from __future__ import annotations

import socket

import pytest

from harness.machine.protocol import Machine
from suites.conformance.guest_facts import Listener, listeners

PUBLIC = {22, 80, 443}
ENGINE_PORT = 8080


@pytest.fixture(scope="module")
def sockets(machine: Machine) -> list[Listener]:
    return listeners(machine)


def test_only_22_80_and_443_listen_beyond_the_loopback(sockets: list[Listener]) -> None:
    public = {found for found in sockets if found.protocol == "tcp" and not found.is_loopback}
    others = {f"{found.address}:{found.port} {found.process}" for found in public if found.port not in PUBLIC}
    assert not others
    assert {found.port for found in public} == PUBLIC


def test_no_udp_service_listens_beyond_the_loopback(sockets: list[Listener]) -> None:
    assert [found for found in sockets if found.protocol == "udp" and not found.is_loopback] == []


def test_the_engine_listens_on_the_loopback_only(sockets: list[Listener]) -> None:
    engine = [found.address for found in sockets if found.port == ENGINE_PORT]
    assert engine == ["127.0.0.1"], f"port {ENGINE_PORT} listens on {engine}"


SERVERS = ("llama-server", "local-ai")
"""The programs that may be the engine, by the names that sockets show."""


def test_the_engine_process_has_no_other_socket(sockets: list[Listener]) -> None:
    ports = {found.port for found in sockets if any(f'"{name}"' in found.process for name in SERVERS)}
    assert ports == {ENGINE_PORT}


@pytest.mark.parametrize("address", ["its own address", "the hostname"])
def test_the_engines_port_is_refused_at(machine: Machine, address: str) -> None:
    host = machine.guest_address if address == "its own address" else "$(uname -n)"
    # curl: 7 = refused, 6 = the name has no address; anything else means something answered or hung.
    result = machine.run(f"curl --silent --max-time 5 --noproxy '*' http://{host}:{ENGINE_PORT}/")
    resolved = machine.run("getent ahostsv4 $(uname -n) | awk 'NR == 1 { print $1 }'").stdout.strip()
    if address == "the hostname" and resolved.startswith("127.0.0.1"):
        pytest.skip("the hostname is an alias of 127.0.0.1, where the engine is meant to listen")
    assert result.exit_status in (6, 7), f"curl ended with {result.exit_status}: {result.stdout[:200]!r}"


@pytest.mark.parametrize("port", sorted(PUBLIC))
def test_the_port_is_reachable_from_outside(machine: Machine, port: int) -> None:
    address = machine.forward(port)
    with socket.create_connection((address.host, address.port), timeout=10):
        pass
