"""Of two backends only one runs: real processes, the lock between them, and who has to go."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bash_guest import APPLIANCE
from nginx_site import free_ports

SCRIPT = APPLIANCE / "templates" / "localai" / "only-backend.sh"
BACKEND = Path(__file__).with_name("fake_backend.py")
START = 'set -euo pipefail; . "$0"; become_only_backend "$LOCK" "${*: -1}"; exec "$@"'
WAIT_S = 20
"""What a slow machine may take for a thing that takes tenths of a second."""
HERE_S = 2.5
"""Longer than the second of quiet and the looks after which a backend without work is ended."""


@dataclass(frozen=True)
class Backend:
    process: subprocess.Popen[bytes]
    port: int

    def listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def ended_by(self) -> int | None:
        return self.process.poll()


Start = Callable[..., Backend]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Backend] = []

    def start_one(**variables: str) -> Backend:
        [port] = free_ports(1)
        environment = {
            "PATH": os.environ["PATH"],
            "LOCK": str(tmp_path / "only-backend"),
            "SLM_BACKEND_QUIET_S": "1",
            "SLM_BACKEND_LOOK_S": "0.1",
            **variables,
        }
        command = ["bash", "-c", START, SCRIPT, sys.executable, "-S", BACKEND, "--addr", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        started.append(Backend(process, port))
        return started[-1]

    yield start_one
    for one in started:
        one.process.kill()
        one.process.wait()


def comes_true(what: Callable[[], object]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def running(start: Start, **variables: str) -> Backend:
    one = start(**variables)
    assert comes_true(one.listens)
    return one


@pytest.mark.parametrize("family", ["4", "6"])
def test_who_comes_ends_the_one_without_work_before_it_runs_itself(start: Start, family: str) -> None:
    first = running(start, FAMILY=family)
    second = start()
    assert comes_true(lambda: first.ended_by() is not None or second.listens())
    assert first.ended_by() == -signal.SIGKILL
    assert comes_true(second.listens)


@pytest.mark.parametrize("family", ["4", "6"])
def test_one_that_serves_somebody_is_waited_for(start: Start, family: str) -> None:
    first = running(start, FAMILY=family)
    with socket.create_connection(("127.0.0.1", first.port)):
        second = start()
        time.sleep(HERE_S)
        assert (first.ended_by(), second.listens()) == (None, False)
    # the client of cardboard is gone, but the backend of cardboard keeps its end: only its own end frees it
    first.process.terminate()
    assert comes_true(second.listens)


def test_one_that_does_not_listen_yet_is_waited_for(start: Start) -> None:
    first = start(WAIT_S=str(HERE_S))
    time.sleep(0.2)
    second = start()
    assert comes_true(first.listens), "it was ended while it started"
    assert comes_true(second.listens)


def test_one_that_serves_somebody_and_does_nothing_is_hung(start: Start) -> None:
    first = running(start)
    with socket.create_connection(("127.0.0.1", first.port)):
        second = start(SLM_BACKEND_STALLED_S="2")
        assert comes_true(lambda: first.ended_by() == -signal.SIGKILL)
        assert comes_true(second.listens)


@pytest.mark.parametrize("left", ["", "1", "{pid} 127.0.0.1:9\n"])
def test_what_was_left_of_an_earlier_one_neither_stops_nor_ends_anybody(
    start: Start, tmp_path: Path, left: str
) -> None:
    stranger = subprocess.Popen([shutil.which("sleep") or "sleep", "60"])
    lock = tmp_path / "only-backend"
    try:
        # somebody holds the lock and hasn't said yet who it is
        holder = subprocess.Popen(["flock", lock, "sleep", str(HERE_S)])
        assert comes_true(lock.exists)
        lock.write_text(left.format(pid=stranger.pid))
        one = start(SLM_BACKEND_STALLED_S="1")
        assert comes_true(one.listens)
        holder.wait()
        assert stranger.poll() is None
        assert lock.read_text() == f"{one.process.pid} 127.0.0.1:{one.port}\n"
    finally:
        stranger.kill()
        stranger.wait()
