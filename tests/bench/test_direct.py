"""Ways to a port of the guest: another network namespace, a tunnel, and what they cost."""

from __future__ import annotations

import errno
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.bench import direct
from harness.bench.direct import in_namespace, inside, outside, path_cost
from harness.errors import HarnessError
from harness.machine.protocol import HostAddress, Machine

OUR_NETWORK = Path("/proc/self/ns/net")
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def server(answer: bytes = ANSWER) -> Iterator[int]:
    """Answers every request on every connection with the same bytes, in two pieces."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with connection, suppress(ConnectionResetError):
                while connection.recv(4096):
                    connection.sendall(answer[:-1])
                    connection.sendall(answer[-1:])

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def other_network() -> Iterator[int]:
    """A process in a network namespace of its own, with its loopback up and a server on port 8080."""
    program = (
        "import socket,sys;s=socket.create_server(('127.0.0.1',8080));print('up',flush=True)\n"
        "while True:\n c,_=s.accept();c.sendall(b'other');c.close()"
    )
    script = 'ip link set lo up && exec python3 -c "$0"'
    command = ["unshare", "--net", "--", "bash", "-c", script, program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"up\n":
        process.wait()
        pytest.skip("namespaces can't be made here: this needs root")
    yield process.pid
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_socket_reaches_the_loopback_of_another_network(other_network: int) -> None:
    before = OUR_NETWORK.readlink()
    connect = in_namespace(lambda: Path(f"/proc/{other_network}/ns/net"), 8080)
    with connect() as opened:
        assert opened.recv(16) == b"other"
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert opened.family == socket.AF_INET
    assert OUR_NETWORK.readlink() == before
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", 8080), timeout=1):
        pass


def test_a_port_nobody_listens_on_is_an_os_error(other_network: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        in_namespace(lambda: Path(f"/proc/{other_network}/ns/net"), 8081)()


def test_without_the_right_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_namespace: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(direct, "enter_network", refuse)
    with pytest.raises(HarnessError, match="can't be entered: Operation not permitted") as caught:
        in_namespace(lambda: OUR_NETWORK, 1)()
    assert caught.value.hint == "run as root"


def test_a_machine_that_is_gone_is_one_line() -> None:
    with pytest.raises(HarnessError, match="can't be entered: No such file"):
        in_namespace(lambda: Path("/proc/0/ns/net"), 1)()


def test_what_is_no_network_namespace_is_refused() -> None:
    with pytest.raises(HarnessError, match="the guest's network can't be entered"):
        in_namespace(lambda: Path("/proc/self/ns/uts"), 1)()


def machine(**has: Any) -> Machine:
    return cast(Machine, SimpleNamespace(**has))


FAKE_SSH = """#!/usr/bin/env python3
import socket, sys, time
tunnel = sys.argv[sys.argv.index("-L") + 1].split(":")
if "refuse" in open(sys.argv[2]).read():
    sys.exit("bind: Address already in use")
time.sleep(0.1)
listener = socket.create_server((tunnel[0], int(tunnel[1])))
while True:
    connection, _ = listener.accept()
    try:
        connection.sendall((":".join(tunnel[2:])).encode())
    except OSError:
        pass
    connection.close()
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(FAKE_SSH)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    config = tmp_path / "config"
    config.touch()
    return config


def test_a_virtual_machine_is_reached_through_a_tunnel_that_ends_with_the_block(fake_ssh: Path) -> None:
    with inside(machine(ssh_config=lambda: fake_ssh), 8080) as connect, connect() as opened:
        assert opened.recv(64) == b"127.0.0.1:8080"
        local = opened.getpeername()[1]
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", local), timeout=1):
        pass


def test_a_tunnel_that_cannot_be_made_says_why(fake_ssh: Path) -> None:
    fake_ssh.write_text("refuse")
    with (
        pytest.raises(HarnessError, match="no tunnel into the guest: bind: Address already in use"),
        inside(machine(ssh_config=lambda: fake_ssh), 8080),
    ):
        pass


def test_clients_come_by_the_address_that_the_machine_says() -> None:
    with server() as port:
        connect = outside(
            machine(forward=lambda guest: HostAddress("127.0.0.1", port if guest == 443 else 1))
        )
        with connect() as opened:
            assert opened.getpeername()[1] == port
            assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_the_cost_of_a_path_is_told_for_each_try() -> None:
    with server() as port:
        cost = path_cost(lambda: socket.create_connection(("127.0.0.1", port)), GET, count=5)
    assert (len(cost.connect_s), len(cost.request_s)) == (5, 5)
    assert all(0 < seconds < 1 for seconds in (*cost.connect_s, *cost.request_s))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_another_answer_than_a_plain_good_one_is_no_cost(answer: bytes) -> None:
    with server(answer) as port, pytest.raises(HarnessError, match="answered unexpectedly: b'HTTP"):
        path_cost(lambda: socket.create_connection(("127.0.0.1", port)), GET, count=1)
