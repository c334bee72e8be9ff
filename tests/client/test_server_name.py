"""Every client connects to the address, and asks for and verifies a name that resolves nowhere."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from scripted_server import answer, serve

from harness.client.certificate import handshake_facts, served_certificate
from harness.client.https import ApplianceAddress, open_client, request_bytes, send_raw
from harness.client.node import fetch
from harness.client.openai_sdk import MAJORS, Mode, open_appliance_sdk
from harness.peers.private_ca import Holder, make_authority, make_server

NAME = "copilot.slm.test"
OTHER = "other.slm.test"
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "x"}]}


@dataclass
class Port:
    """A server on 127.0.0.1 whose certificate holds for NAME alone, and what clients asked it for."""

    address: ApplianceAddress
    indicated: list[str | None] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    @property
    def host_header(self) -> str:
        lines = self.requests[-1].decode("latin-1").split("\r\n")
        return next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:"))


@pytest.fixture(scope="module")
def authority() -> Holder:
    return make_authority("root")


@pytest.fixture
def port(authority: Holder, tmp_path: Path) -> Iterator[Port]:
    server = make_server(authority, [NAME])
    (tmp_path / "root.pem").write_text(authority.pem)
    (tmp_path / "cert.pem").write_text(server.pem)
    (tmp_path / "key.pem").write_text(server.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    indicated: list[str | None] = []
    requests: list[bytes] = []
    context.sni_callback = lambda _connection, name, _context: indicated.append(name)

    def reply(request: bytes, connection: socket.socket) -> None:
        requests.append(request)
        connection.sendall(answer("200 OK", json.dumps(MODELS).encode()))

    with ExitStack() as servers:
        number = servers.enter_context(serve(reply, context))
        address = ApplianceAddress(
            base_url=f"https://127.0.0.1:{number}",
            ca_file=tmp_path / "root.pem",
            username="admin",
            password="Passw0rd-of-a-test",
            server_name=NAME,
        )
        yield Port(address, indicated, requests)


def assert_asked_by_name(port: Port) -> None:
    assert port.indicated[-1] == NAME
    assert port.host_header in (NAME, f"{NAME}:{port.address.port}")


def by_httpx(address: ApplianceAddress) -> int:
    with open_client(address) as client:
        return client.get("/v1/models").status_code


def by_raw_bytes(address: ApplianceAddress) -> int:
    return send_raw(address, request_bytes("GET", "/v1/models", {"Host": address.verified_name})).status


def by_node(address: ApplianceAddress) -> int | str:
    answered = fetch(address, "/v1/models", {})
    return answered.status or (answered.error or {})["cause"]


@pytest.mark.parametrize("client", [by_httpx, by_raw_bytes, by_node])
def test_the_name_is_asked_for_and_verified_by(
    port: Port, client: Callable[[ApplianceAddress], object]
) -> None:
    assert client(port.address) == 200
    assert_asked_by_name(port)


@pytest.mark.parametrize("client", [by_httpx, by_raw_bytes])
@pytest.mark.parametrize("name", [OTHER, ""])
def test_a_certificate_without_the_name_is_refused_by(
    port: Port, client: Callable[[ApplianceAddress], object], name: str
) -> None:
    with pytest.raises((httpx.ConnectError, ssl.SSLCertVerificationError), match="mismatch"):
        client(replace(port.address, server_name=name))
    assert port.requests == []


@pytest.mark.parametrize("name", [OTHER, ""])
def test_a_certificate_without_the_name_is_refused_by_node(port: Port, name: str) -> None:
    assert by_node(replace(port.address, server_name=name)) == "ERR_TLS_CERT_ALTNAME_INVALID"
    assert port.requests == []


@pytest.mark.parametrize("major", MAJORS)
def test_the_sdk_asks_for_the_name_and_verifies_it(port: Port, major: str) -> None:
    modes: tuple[Mode, ...] = ("sync", "async")
    with open_appliance_sdk(port.address, major) as sdk:
        for mode in modes:
            assert sdk.call("models.list", mode=mode).value() is not None
            assert_asked_by_name(port)
    port.requests.clear()
    with open_appliance_sdk(replace(port.address, server_name=OTHER), major) as sdk:
        for mode in modes:
            refused = sdk.call("models.list", mode=mode).exception
            assert refused is not None
            assert refused.name == "APIConnectionError"
            assert "CERTIFICATE_VERIFY_FAILED" in f"{refused.message} {refused.cause}"
    assert port.requests == []


def test_the_served_certificate_is_verified_for_the_name(port: Port) -> None:
    address = port.address
    facts = served_certificate(
        address.host, address.port, server_hostname=address.verified_name, ca_file=address.ca_file
    )
    assert facts.dns_names == (NAME,)


def test_openssls_client_verifies_the_name_too(port: Port) -> None:
    host, number, ca_file = port.address.host, port.address.port, port.address.ca_file
    sent = handshake_facts(host, number, server_hostname=NAME, ca_file=ca_file)
    assert [facts.dns_names for facts in sent.chain] == [(NAME,)]
    assert not sent.ocsp_stapled
    assert port.indicated[-1] == NAME
    for wrong in (OTHER, "127.0.0.1"):
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            handshake_facts(host, number, server_hostname=wrong, ca_file=ca_file)


def test_another_authority_is_not_trusted_for_the_name(port: Port, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_text(make_authority("root").pem)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        by_httpx(replace(port.address, ca_file=tmp_path / "other.pem"))


def test_without_a_name_everything_is_as_the_address_says() -> None:
    address = ApplianceAddress("https://192.0.2.7:8443", Path("c"), "admin", "secret-word")
    assert address.verified_name == "192.0.2.7"
    assert address.named_url == address.base_url
    assert address.name_lookup == {}
