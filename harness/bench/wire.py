"""One streamed chat request over HTTP/1.1, with the monotonic time of everything that happens on the wire.

Every stamp is `time.perf_counter_ns` read right after the call that it is of has returned, so neither steps
of the wall clock nor the work of parsing bend it: while an answer runs only its HTTP framing is taken off,
events are decoded when it is over (harness/bench/timeline.py). A request is sent once, whatever becomes of
it. Whatever goes wrong is a `Failure`, which has no latencies at all.
"""

from __future__ import annotations

import gc
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h11

from harness.client.https import CONNECT_TIMEOUT_S, ApplianceAddress, verifying_context
from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.redaction import REDACTOR

CHAT_PATH = "/v1/chat/completions"

RECEIVE_BYTES = 65536
SHOWN_OF_A_REFUSAL = 300
"""Characters of an answer's body that a failure quotes."""

SocketFactory = Callable[[], socket.socket]
"""Makes a connected TCP socket with TCP_NODELAY set, which the caller closes. Raises OSError."""

FailureKind = Literal["connect", "tls", "status", "timeout", "cut off", "malformed", "engine"]


@dataclass(frozen=True)
class Failure:
    """A request without a measurable answer.

    Kinds: `connect` no TCP connection; `tls` no handshake, or the certificate did not verify; `status` an
    answer other than 200; `timeout` the time was up before the answer was whole; `cut off` the connection
    ended before the answer did; `malformed` not HTTP, no event stream, or events that can't be read;
    `engine` an error event in the stream.
    """

    kind: FailureKind
    detail: str
    status: int | None = None
    after_s: float = 0.0
    """Seconds from the beginning to the failure: for the log, not a latency of anything."""


@dataclass(frozen=True)
class Target:
    """Where requests go, and with which right."""

    connect: SocketFactory
    tls: ssl.SSLContext | None
    server_name: str
    """The name that is asked for and verified; unused without TLS."""
    host_header: str
    authorization: str = field(default="", repr=False)
    """The whole value of the header; empty: none is sent."""
    path: str = CHAT_PATH


@dataclass(frozen=True)
class Arrival:
    """Bytes of the answer's body and when the read that brought them returned."""

    at_ns: int
    data: bytes


@dataclass(frozen=True)
class Stamps:
    """When what happened to one request that was answered with a whole event stream (perf_counter_ns)."""

    handed_ns: int
    """Just before the request was handed to the socket, all of it in one call. Times of an answer begin
    here: the return of that call may come later than the answer does when the host is busy."""
    sent_ns: int
    """That call has returned: the kernel has all of the request."""
    head_ns: int
    """The answer's headers were complete."""
    ended_ns: int
    """The answer was complete."""
    arrivals: tuple[Arrival, ...]
    headers: tuple[tuple[str, str], ...]
    connect_s: float | None
    """TCP connection; None on a connection that was used before."""
    tls_s: float | None
    """Handshake; None on a connection that was used before, and without TLS."""
    cpu_wait_s: float | None
    """How long this thread waited for a processor meanwhile: by so much stamps can be late. None: not known
    here."""


@dataclass
class Connection:
    """An open connection for one request after the other; a context manager. Not for several threads."""

    opened: socket.socket = field(repr=False)
    connect_s: float
    tls_s: float | None
    requests: int = 0
    """How many requests were sent over it."""
    usable: bool = True
    """False when it was closed, by whom ever; requests over it then fail."""
    protocol: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT), repr=False)

    def close(self) -> None:
        self.usable = False
        with suppress(OSError):
            self.opened.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def appliance_target(appliance: ApplianceAddress, *, path: str = CHAT_PATH) -> Target:
    """The appliance as coding clients ask it: verified TLS, the password as a Bearer token.

    Raises:
        OSError, ssl.SSLError: its CA file is missing or not PEM.
    """
    return Target(
        connect=lambda: connect_tcp(appliance.host, appliance.port),
        tls=verifying_context(appliance.ca_file),
        server_name=appliance.verified_name,
        host_header=appliance.verified_name,
        authorization=appliance.bearer()["Authorization"],
        path=path,
    )


def connect_tcp(host: str, port: int, *, timeout_s: float = CONNECT_TIMEOUT_S) -> socket.socket:
    """A connected socket that sends at once what it is given.

    Raises:
        OSError: no connection within `timeout_s` seconds.
    """
    connected = socket.create_connection((host, port), timeout=timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def open_connection(target: Target, *, timeout_s: float) -> Connection | Failure:
    """Connect, and shake hands where there is TLS: one try, at most `timeout_s` seconds of handshake."""
    begun = time.perf_counter_ns()

    def failed(kind: FailureKind, error: Exception) -> Failure:
        return Failure(kind, _in_words(error), after_s=_seconds(begun, time.perf_counter_ns()))

    try:
        plain = target.connect()
    except OSError as error:
        return failed("connect", error)
    connected = time.perf_counter_ns()
    if target.tls is None:
        return Connection(plain, _seconds(begun, connected), None)
    try:
        plain.settimeout(timeout_s)
        secured = target.tls.wrap_socket(plain, server_hostname=target.server_name)
    except TimeoutError as error:
        plain.close()
        return failed("timeout", error)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: an impossible name
        plain.close()
        return failed("tls", error)
    except BaseException:
        plain.close()
        raise
    return Connection(secured, _seconds(begun, connected), _seconds(connected, time.perf_counter_ns()))


def stream_chat(
    target: Target, body: Mapping[str, Any], *, timeout_s: float, connection: Connection | None = None
) -> Stamps | Failure:
    """Send `body` once, as a request for a stream with its usage, and take the answer.

    Args:
        timeout_s: seconds for everything together: handshake, request and the whole answer.
        connection: one to use, which stays open for the next request unless this one fails or the server
            closes it; None opens one and closes it afterwards.

    Raises:
        HarnessError: the request can't be written as HTTP (a line break in a header).
    """
    deadline = Deadline.after(timeout_s)
    request = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    if connection is not None:
        return _exchange(target, request, connection, deadline)
    opened = open_connection(target, timeout_s=timeout_s)
    if isinstance(opened, Failure):
        return opened
    with opened:
        return _exchange(target, request, opened, deadline)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """No collection inside the block: one of a large process stops all threads for tens of milliseconds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Broken(Exception):
    """Carries a failure out of the reading loop."""

    def __init__(self, kind: FailureKind, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.status = kind, detail, status


@dataclass
class _Answer:
    """What came of an answer so far."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    head_ns: int = 0
    ended_ns: int = 0
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(arrival.data for arrival in self.arrivals).decode(errors="replace")


def _exchange(target: Target, body: bytes, connection: Connection, deadline: Deadline) -> Stamps | Failure:
    first = connection.requests == 0
    connection.requests += 1
    waited = _waited_for_cpu_ns()
    answer = _Answer()
    handed = sent = time.perf_counter_ns()
    try:
        request = _request_bytes(target, body, connection)
        with without_garbage_collection():
            handed = time.perf_counter_ns()
            _send(connection.opened, request, deadline)
            sent = time.perf_counter_ns()
            _receive(connection, answer, deadline)
        _require_stream(answer)
    except _Broken as broken:
        connection.close()
        after_s = _seconds(handed, time.perf_counter_ns())
        return Failure(broken.kind, broken.detail, status=broken.status, after_s=after_s)
    except BaseException:
        connection.close()
        raise
    _make_ready_for_the_next(connection)
    waited_now = _waited_for_cpu_ns()
    return Stamps(
        handed_ns=handed,
        sent_ns=sent,
        head_ns=answer.head_ns,
        ended_ns=answer.ended_ns,
        arrivals=tuple(answer.arrivals),
        headers=answer.headers,
        connect_s=connection.connect_s if first else None,
        tls_s=connection.tls_s if first else None,
        cpu_wait_s=_seconds(waited, waited_now) if waited is not None and waited_now is not None else None,
    )


def _request_bytes(target: Target, body: bytes, connection: Connection) -> bytes:
    if not connection.usable:
        raise _Broken("connect", "the connection was closed before this request")
    headers = [
        ("Host", target.host_header),
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream"),
        ("Content-Length", str(len(body))),
        *([("Authorization", target.authorization)] if target.authorization else []),
    ]
    protocol = connection.protocol
    try:
        parts = [
            protocol.send(h11.Request(method="POST", target=target.path, headers=headers)),
            protocol.send(h11.Data(data=body)),
            protocol.send(h11.EndOfMessage()),
        ]
    except (h11.LocalProtocolError, UnicodeError):
        # Without its cause, whose message quotes the header: it may be the one with the password.
        raise HarnessError("the target's path, host or authorization can't be sent as HTTP") from None
    return b"".join(part for part in parts if part)


def _send(opened: socket.socket, request: bytes, deadline: Deadline) -> None:
    try:
        opened.settimeout(max(deadline.remaining, 0.001))
        opened.sendall(request)
    except TimeoutError:
        raise _Broken("timeout", f"the request was not taken within {deadline.seconds:g} s") from None
    except OSError:
        # The server may have answered and closed before it read everything (413); the reading tells.
        return


def _receive(connection: Connection, answer: _Answer, deadline: Deadline) -> None:
    """Read until the answer is whole, stamping each read."""
    opened, protocol = connection.opened, connection.protocol
    while not answer.ended_ns:
        remaining = deadline.remaining
        if not remaining:
            raise _Broken("timeout", f"the answer was not whole within {deadline.seconds:g} s")
        try:
            opened.settimeout(remaining)
            data = opened.recv(RECEIVE_BYTES)
            now = time.perf_counter_ns()
        except TimeoutError:
            continue
        except OSError as error:
            raise _Broken("cut off", _cut(answer, connection, _in_words(error))) from None
        try:
            protocol.receive_data(data)
            _take_events(protocol, answer, now)
        except h11.RemoteProtocolError as error:
            if data:
                raise _Broken("malformed", f"not HTTP: {error}") from None
        if not data and not answer.ended_ns:
            raise _Broken("cut off", _cut(answer, connection, "the server closed the connection"))


def _take_events(protocol: h11.Connection, answer: _Answer, now: int) -> None:
    while not answer.ended_ns:
        event = protocol.next_event()
        match event:
            case h11.Response():
                answer.status, answer.head_ns = event.status_code, now
                answer.headers = tuple(
                    (name.decode(), value.decode("latin-1")) for name, value in event.headers
                )
            case h11.Data():
                answer.arrivals.append(Arrival(now, bytes(event.data)))
            case h11.EndOfMessage():
                answer.ended_ns = now
            case h11.InformationalResponse():
                continue
            case _:  # NEED_DATA, PAUSED, ConnectionClosed
                return


def _cut(answer: _Answer, connection: Connection, reason: str) -> str:
    if answer.head_ns:
        return f"{reason} in the middle of the answer"
    used = ", on a connection that was used before" if connection.requests > 1 else ""
    return f"{reason} before it answered{used}"


def _require_stream(answer: _Answer) -> None:
    if answer.status != 200:
        said = REDACTOR.redact(" ".join(answer.text.split()))[:SHOWN_OF_A_REFUSAL]
        raise _Broken("status", f"status {answer.status}: {said}", answer.status)
    kind = next(
        (value for name, value in answer.headers if name.lower() == "content-type"), "no content type"
    )
    if not kind.startswith("text/event-stream"):
        raise _Broken("malformed", f"answered with {kind} instead of an event stream", answer.status)


def _make_ready_for_the_next(connection: Connection) -> None:
    protocol = connection.protocol
    if protocol.our_state is h11.DONE and protocol.their_state is h11.DONE:
        protocol.start_next_cycle()
    else:
        connection.close()


def _waited_for_cpu_ns() -> int | None:
    """Nanoseconds this thread has been ready to run without a processor (second number of schedstat)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _seconds(start_ns: int, end_ns: int) -> float:
    return (end_ns - start_ns) / 1e9


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__
