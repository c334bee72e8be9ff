"""Ports are free when they are handed out, and one the user wants is checked before anything starts."""

import socket
from collections.abc import Iterator

import pytest

from harness.errors import HarnessError
from harness.machine.ports import HIGHEST, LOWEST, candidate_ports, is_free, require_free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_candidates_are_free_different_and_in_range() -> None:
    ports = list(candidate_ports(20))
    assert len(set(ports)) == 20
    assert all(LOWEST <= port <= HIGHEST and is_free(port) for port in ports)


def test_a_taken_port_is_one_line(taken: int) -> None:
    assert not is_free(taken)
    with pytest.raises(HarnessError, match=f"port {taken} on 127.0.0.1 is taken") as caught:
        require_free_port(taken)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(HarnessError, match="is not a TCP port"):
        require_free_port(port)
