"""HTTP and HTTPS to an appliance; the certificate is always verified, host name included.

Two ways in: an httpx client for what a decent client sends, and `send_raw` for what only a hostile or
broken one sends (double headers, unnormalised paths, half a request).
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from harness.client.sse import SseDecoder, Stream

CONNECT_TIMEOUT_S = 10.0
"""A TCP connection plus TLS handshake under TCG takes 0.2 to 0.5 s; ten seconds is a fault."""

Auth = Literal["bearer", "basic", "none"]


@dataclass(frozen=True)
class ApplianceAddress:
    """How the harness reaches one appliance, and with which right."""

    base_url: str
    """`https://host:port`, without `/v1` and without a trailing slash."""
    ca_file: Path
    """PEM file to verify the appliance's certificate with; for a self-signed one, the certificate itself."""
    username: str
    password: str = field(repr=False)
    http_url: str = ""
    """`http://host:port` of the appliance's port 80."""
    model: str = ""
    server_name: str = ""
    """The name clients ask for and verify; it need not resolve, they connect to `base_url` all the same.
    Empty: the host of `base_url`."""

    @property
    def host(self) -> str:
        """The host name or address of `base_url`."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def port(self) -> int:
        """The port of `base_url`."""
        return urlsplit(self.base_url).port or 443

    @property
    def api_url(self) -> str:
        """What an OpenAI client takes as base_url."""
        return f"{self.named_url}/v1"

    @property
    def verified_name(self) -> str:
        """The name or address the certificate must hold for."""
        return self.server_name or self.host

    @property
    def named_url(self) -> str:
        """`base_url` as somebody writes it for whom the name resolves; see `name_lookup`."""
        return f"https://{self.server_name}:{self.port}" if self.server_name else self.base_url

    @property
    def name_lookup(self) -> dict[str, str]:
        """What a program that uses `named_url` must be told: the name and the address to connect to."""
        return {self.server_name: self.host} if self.server_name else {}

    def bearer(self) -> dict[str, str]:
        """The header coding clients send."""
        return {"Authorization": f"Bearer {self.password}"}

    def basic(self) -> dict[str, str]:
        """The header people's tools send."""
        return {"Authorization": basic_value(self.username, self.password)}

    def headers(self, auth: Auth) -> dict[str, str]:
        """The Authorization header of the given kind, or none."""
        return {"bearer": self.bearer, "basic": self.basic, "none": dict}[auth]()


def basic_value(username: str, password: str) -> str:
    """The value of an Authorization header for HTTP Basic (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def verifying_context(ca_file: Path) -> ssl.SSLContext:
    """A client context that trusts `ca_file` alone and checks the host name.

    A self-signed server certificate can be its own anchor: OpenSSL accepts it as the end of the chain.

    Raises:
        OSError, ssl.SSLError: the file is missing or not PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A pinned certificate that somebody else signed is an anchor too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cafile=str(ca_file))
    return context


def open_client(
    appliance: ApplianceAddress, *, auth: Auth = "bearer", read_timeout_s: float = 60.0
) -> httpx.Client:
    """An httpx client for the appliance: no redirects followed, no proxy, no retry, explicit timeouts.

    Args:
        read_timeout_s: longest wait between two reads, in seconds.
    """

    def ask_by_name(request: httpx.Request) -> None:
        request.headers["Host"] = appliance.server_name
        request.extensions = {**request.extensions, "sni_hostname": appliance.server_name}

    return httpx.Client(
        base_url=appliance.base_url,
        headers=appliance.headers(auth),
        event_hooks={"request": [ask_by_name] if appliance.server_name else []},
        verify=verifying_context(appliance.ca_file),
        timeout=httpx.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S),
        follow_redirects=False,
        trust_env=False,
    )


def read_stream(
    client: httpx.Client, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
) -> Stream:
    """POST `body` and read the answer as server-sent events, noting when each byte arrived.

    A client which already has a connection gives times without the TLS handshake. An answer that is
    no event stream (an error, say) comes back with its body and without events.

    Raises:
        httpx.TransportError: connection, timeout or protocol fault.
    """
    decoder, byte_times, raw = SseDecoder(), list[float](), bytearray()
    started = time.perf_counter()
    with client.stream("POST", path, json=dict(body), headers=dict(headers or {})) as response:
        headers_s = time.perf_counter() - started
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        for chunk in response.iter_bytes():
            now = time.perf_counter() - started
            raw += chunk
            byte_times.append(now)
            if is_stream:
                decoder.feed(chunk, now)
    ended_s = time.perf_counter() - started
    return Stream(
        status=response.status_code,
        headers=tuple(response.headers.multi_items()),
        headers_s=headers_s,
        events=tuple(decoder.events),
        comments=tuple(decoder.comments),
        byte_times_s=tuple(byte_times),
        ended_s=ended_s,
        body=bytes(raw),
        unterminated=decoder.close(),
    )


@dataclass(frozen=True)
class RawAnswer:
    """The answer to a raw request. `status` 0: the connection was closed without an answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    seconds: float

    def header(self, name: str) -> str | None:
        """The header's value (repeated ones joined by comma), None where absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.body)


@contextmanager
def open_tls(
    appliance: ApplianceAddress, *, timeout_s: float = 15.0, server_hostname: str | None = None
) -> Iterator[ssl.SSLSocket]:
    """A verified TLS connection to the appliance; closed on leaving.

    Raises:
        OSError: no connection. ssl.SSLError: the handshake or the verification failed.
    """
    plain = socket.create_connection((appliance.host, appliance.port), timeout=CONNECT_TIMEOUT_S)
    try:
        secured = verifying_context(appliance.ca_file).wrap_socket(
            plain, server_hostname=server_hostname or appliance.verified_name
        )
    except BaseException:
        plain.close()
        raise
    with secured:
        secured.settimeout(timeout_s)
        yield secured


def send_raw(
    appliance: ApplianceAddress, request: bytes, *, method: str = "GET", timeout_s: float = 15.0
) -> RawAnswer:
    """Send these very bytes over verified TLS and read one answer.

    Args:
        method: what the request's method is, because an answer to HEAD has no body.

    Raises:
        OSError: no connection, or nothing came within `timeout_s`.
    """
    with open_tls(appliance, timeout_s=timeout_s) as connection:
        return exchange(connection, request, method=method)


def exchange(connection: socket.socket, request: bytes, *, method: str = "GET") -> RawAnswer:
    """Send bytes on an open connection and read one HTTP answer from it (status 0: closed instead)."""
    started = time.perf_counter()
    with suppress(ConnectionError, ssl.SSLError):
        # The server may answer and close before it has read everything (413, 431).
        connection.sendall(request)
    answer = http.client.HTTPResponse(connection, method=method)
    try:
        answer.begin()
        body = answer.read()
    except (ConnectionError, http.client.HTTPException, ssl.SSLError):
        return RawAnswer(0, (), b"", time.perf_counter() - started)
    return RawAnswer(answer.status, tuple(answer.getheaders()), body, time.perf_counter() - started)


def request_bytes(
    method: str, target: str, headers: Mapping[str, str] | list[tuple[str, str]], body: bytes = b""
) -> bytes:
    """An HTTP/1.1 request exactly as given: `target` is not normalised and headers may repeat."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs = [("Host", "127.0.0.1"), *pairs]
    if body and not names & {"content-length", "transfer-encoding"}:
        pairs = [*pairs, ("Content-Length", str(len(body)))]
    if "connection" not in names:
        pairs = [*pairs, ("Connection", "close")]
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
