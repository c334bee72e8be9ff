"""The QMP client against a server that says what these tests want."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.machine.qmp import QmpClient, QmpError

GREETING = {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}
OK: dict[str, Any] = {"return": {}}


def line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\r\n"


class Server:
    """Answers the n-th request with the n-th reply (bytes), and keeps the requests."""

    def __init__(self, greeting: bytes, *replies: bytes, pieces: int = 0) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.requests: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._serve, args=(greeting, replies, pieces), daemon=True)
        self._thread.start()

    def _serve(self, greeting: bytes, replies: tuple[bytes, ...], pieces: int) -> None:
        with self._theirs, contextlib.suppress(BrokenPipeError):
            self._theirs.sendall(greeting)
            requests = self._theirs.makefile("rb")
            for reply in replies:
                request = requests.readline()
                if not request:
                    return
                self.requests.append(json.loads(request))
                for start in range(0, len(reply), pieces or max(1, len(reply))):
                    self._theirs.sendall(reply[start : start + pieces] if pieces else reply)
                    time.sleep(0.001 if pieces else 0)


@pytest.fixture
def connect() -> Iterator[Callable[..., tuple[QmpClient, Server]]]:
    clients: list[QmpClient] = []

    def make(*replies: bytes, pieces: int = 0) -> tuple[QmpClient, Server]:
        server = Server(line(GREETING), line(OK), *replies, pieces=pieces)
        clients.append(QmpClient(server.ours, timeout=5))
        return clients[-1], server

    yield make
    for client in clients:
        client.close()


Connect = Callable[..., tuple[QmpClient, Server]]


def test_it_negotiates_and_returns_what_a_command_returns(connect: Connect) -> None:
    client, server = connect(line({"return": {"status": "prelaunch"}}))
    assert client.execute("query-status") == {"status": "prelaunch"}
    assert server.requests == [{"execute": "qmp_capabilities"}, {"execute": "query-status"}]


def test_events_between_command_and_answer_are_kept_apart(connect: Connect) -> None:
    resume, reset, stop = ({"event": name, "timestamp": {}} for name in ("RESUME", "RESET", "STOP"))
    client, _ = connect(line(resume) + line(reset) + line({"return": 7}) + line(stop))
    assert client.execute("cont") == 7
    for event in (reset, stop, resume):
        assert client.wait_event(event.__eq__, what="it", timeout=1) == event


def test_messages_may_arrive_byte_by_byte(connect: Connect) -> None:
    client, _ = connect(line({"event": "RESUME"}) + line({"return": "ü" * 20}), pieces=3)
    assert client.execute("anything") == "ü" * 20


def test_a_refusal_carries_qemus_own_words(connect: Connect) -> None:
    client, _ = connect(line({"error": {"desc": "no such device"}}), line({"return": 1}))
    with pytest.raises(QmpError, match="QEMU refused device_del: no such device") as caught:
        client.execute("device_del", {"id": "x"})
    assert caught.value.reason == "no such device"
    assert client.execute("query-status") == 1


def test_arguments_and_human_commands_go_through(connect: Connect) -> None:
    client, server = connect(line({"return": "could not set up host forwarding rule\r\n"}))
    assert client.human("hostfwd_add net tcp::1-:2") == "could not set up host forwarding rule"
    assert server.requests[-1] == {
        "execute": "human-monitor-command",
        "arguments": {"command-line": "hostfwd_add net tcp::1-:2"},
    }


@pytest.mark.timing
def test_a_silent_server_is_a_timeout(connect: Connect) -> None:
    client, _ = connect(line({"event": "RESUME"}), b"")
    started = time.monotonic()
    with pytest.raises(QmpError, match=r"did not send the answer to cont within 0\.2 s"):
        client.execute("cont", timeout=0.2)
    assert time.monotonic() - started < 2


def test_events_do_not_extend_the_timeout(connect: Connect) -> None:
    client, _ = connect(line({"event": "TICK"}) * 200, b"", pieces=16)
    with pytest.raises(QmpError, match="did not send"):
        client.execute("cont", timeout=0.1)


def test_a_server_that_dies_is_told(connect: Connect) -> None:
    client, _ = connect()
    with pytest.raises(QmpError, match=r"closed its monitor|is gone"):
        client.execute("cont")


@pytest.mark.parametrize(
    ("greeting", "complaint"),
    [
        (b"", "closed its monitor, waiting for its greeting"),
        (b"SSH-2.0-OpenSSH\r\n", "sent no JSON"),
        (b"[]\r\n", "sent no object"),
        (line({"hello": 1}), "did not greet"),
    ],
)
def test_something_that_is_no_monitor_is_refused(greeting: bytes, complaint: str) -> None:
    server = Server(greeting)
    with pytest.raises(QmpError, match=complaint):
        QmpClient(server.ours, timeout=2)
    server.ours.close()
