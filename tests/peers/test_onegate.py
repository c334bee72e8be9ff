"""The played OneGate remembers requests word for word and answers as it is told."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.parse
from dataclasses import dataclass

import pytest

from harness.peers.onegate import Report, open_onegate
from harness.redaction import REDACTOR

TOKEN = "c2VjcmV0LXRva2Vu"


@dataclass(frozen=True)
class Loopback:
    host_address: str = "127.0.0.1"
    host_listen: str = "127.0.0.1"


def put(endpoint: str, *, token: str = TOKEN, timeout: float = 5) -> int:
    where = urllib.parse.urlsplit(endpoint)
    connection = http.client.HTTPConnection(where.netloc, timeout=timeout)
    connection.request(
        "PUT", "/vm", b"data=READY%3DYES&type=1", {"X-ONEGATE-TOKEN": token, "X-onegate-VMID": "7"}
    )
    return connection.getresponse().status


def test_a_report_is_remembered_word_for_word() -> None:
    before = time.time()
    with open_onegate(Loopback()) as onegate:
        assert put(onegate.endpoint) == 200
        (report,) = onegate.reports
    assert (report.method, report.path, report.body) == ("PUT", "/vm", b"data=READY%3DYES&type=1")
    assert report.header("x-onegate-token") == TOKEN
    assert ("X-onegate-VMID", "7") in report.headers
    assert report.header("Absent") == ""
    assert before <= report.at <= time.time()


def test_a_header_sent_twice_is_not_taken_for_one() -> None:
    report = Report("PUT", "/vm", (("A", "1"), ("a", "2")), b"", 0)
    with pytest.raises(ValueError, match="2 headers A"):
        report.header("A")


def test_it_fails_as_told() -> None:
    with open_onegate(Loopback(), status=403) as onegate:
        assert put(onegate.endpoint) == 403
        onegate.status = 500
        assert put(onegate.endpoint) == 500
        assert len(onegate.reports) == 2


@pytest.mark.timing
def test_a_silent_one_takes_the_request_and_ends_with_the_block() -> None:
    started = time.monotonic()
    with open_onegate(Loopback(), silent=True) as onegate:
        with pytest.raises(TimeoutError):
            put(onegate.endpoint, timeout=0.3)
        assert len(onegate.reports) == 1
    assert time.monotonic() - started < 3
    where = urllib.parse.urlsplit(onegate.endpoint)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((where.hostname or "", where.port or 0), timeout=1)


def test_the_guest_can_be_looked_at_before_the_report_is_answered() -> None:
    seen: list[str] = []
    with open_onegate(Loopback(), on_report=lambda report: seen.append(report.path)) as onegate:
        put(onegate.endpoint)
    assert seen == ["/vm"]


def test_waiting_for_a_report_that_does_not_come() -> None:
    with open_onegate(Loopback()) as onegate:
        assert onegate.wait_for(1, timeout=0.1) == ()
        put(onegate.endpoint)
        assert len(onegate.wait_for(1, timeout=5)) == 1


def test_the_endpoint_names_the_host_as_the_guest_sees_it() -> None:
    with open_onegate(Loopback(host_address="10.0.2.2")) as onegate:
        assert onegate.endpoint.startswith("http://10.0.2.2:")


def test_the_token_is_masked_from_then_on() -> None:
    with open_onegate(Loopback()) as onegate:
        put(onegate.endpoint, token="bWFzay1tZS1wbGVhc2U=")
    assert "bWFzay1tZS1wbGVhc2U=" not in REDACTOR.redact("sent bWFzay1tZS1wbGVhc2U= away")
