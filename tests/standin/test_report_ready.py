"""The stand-in's READY report: the request of `onegate vm update`, and when it is not sent."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from relocated import STANDIN, relocate

from harness.peers.onegate import OneGate, open_onegate

SCRIPT = STANDIN / "one-context/etc/one-context.d/net-99-report-ready"
TOKEN = "Z0FBQUFBQm4rdG9rZW4vPT0="


@dataclass(frozen=True)
class Loopback:
    host_address: str = "127.0.0.1"
    host_listen: str = "127.0.0.1"


@pytest.fixture
def onegate() -> Iterator[OneGate]:
    with open_onegate(Loopback()) as opened:
        yield opened


@dataclass(frozen=True)
class Guest:
    root: Path

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def tell(self, endpoint: str, *, token: str = TOKEN, vmid: str = "42", more: str = "") -> None:
        """What loc-16 wrote."""
        lines = (
            f'export TOKENTXT="{token}"',
            f'export VMID="{vmid}"',
            f'export ONEGATE_ENDPOINT="{endpoint}"',
            more,
        )
        self.write("var/run/one-context/one_env", "\n".join(lines) + "\n")

    def report(self, report_ready: str = "YES", **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", self.root / "net-99", "network", ""],
            env={"PATH": path, "REPORT_READY": report_ready, "no_proxy": "*", **variables},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )


@pytest.fixture
def guest(tmp_path: Path, onegate: OneGate) -> Guest:
    made = Guest(tmp_path)
    made.write("net-99", relocate(SCRIPT.read_text(encoding="utf-8"), tmp_path))
    made.write("etc/one-appliance/service", "", 0o755)
    made.write("etc/one-appliance/status", "bootstrap_success\n")
    made.tell(onegate.endpoint)
    return made


def test_the_request_is_that_of_onegate(guest: Guest, onegate: OneGate) -> None:
    assert guest.report().returncode == 0
    (report,) = onegate.reports
    assert (report.method, report.path, report.body) == ("PUT", "/vm", b"data=READY%3DYES&type=1")
    assert report.header("X-ONEGATE-TOKEN") == TOKEN
    assert report.header("X-ONEGATE-VMID") == "42"
    assert report.header("Content-Type") == "application/x-www-form-urlencoded"


def test_no_program_is_given_the_token_as_an_argument(guest: Guest, onegate: OneGate) -> None:
    guest.write(
        "bin/curl", f'#!/bin/sh\nprintf "%s\\n" "$@" >"{guest.root}/argv"\nexec /usr/bin/curl "$@"\n', 0o755
    )
    result = guest.report()
    assert len(onegate.reports) == 1
    assert TOKEN not in (guest.root / "argv").read_text() + result.stdout + result.stderr


@pytest.mark.parametrize("report_ready", ["", "NO", "yes", "YES "])
def test_only_for_yes(guest: Guest, onegate: OneGate, report_ready: str) -> None:
    assert (guest.report(report_ready).returncode, onegate.reports) == (0, ())


@pytest.mark.parametrize(
    "status", ["bootstrap_failure", "bootstrap_started", "configure_failure", "configure_success", ""]
)
def test_only_after_the_bootstrap_succeeded(guest: Guest, onegate: OneGate, status: str) -> None:
    guest.write("etc/one-appliance/status", f"{status}\n")
    assert (guest.report().returncode, onegate.reports) == (0, ())


def test_a_machine_without_a_service_reports_too(guest: Guest, onegate: OneGate) -> None:
    (guest.root / "etc/one-appliance/service").unlink()
    assert (guest.report().returncode, len(onegate.reports)) == (0, 1)


@pytest.mark.parametrize("status", [400, 403, 500, 302])
def test_one_attempt_and_no_more(guest: Guest, onegate: OneGate, status: int) -> None:
    onegate.status = status
    result = guest.report()
    assert len(onegate.reports) == 1
    assert result.returncode == 1
    assert f"OneGate answered {status}" in result.stderr


def test_without_a_token_nothing_is_sent(guest: Guest, onegate: OneGate) -> None:
    guest.tell(onegate.endpoint, token="")
    result = guest.report()
    assert (result.returncode, onegate.reports) == (1, ())
    assert "TOKEN=YES" in result.stderr


def test_without_an_endpoint_nothing_is_sent(guest: Guest, onegate: OneGate) -> None:
    guest.tell("")
    assert (guest.report().returncode, onegate.reports) == (1, ())


@pytest.mark.timing
def test_nothing_listens(guest: Guest) -> None:
    guest.tell("http://127.0.0.1:9")
    started = time.monotonic()
    assert guest.report().returncode == 1
    assert time.monotonic() - started < 3


@pytest.mark.timing
def test_the_waiting_for_a_silent_one_is_bounded(guest: Guest, onegate: OneGate) -> None:
    onegate.silent = True
    text = (guest.root / "net-99").read_text()
    guest.write("net-99", text.replace("ANSWER_S=120", "ANSWER_S=1"))
    started = time.monotonic()
    assert guest.report().returncode == 1
    assert 0.9 < time.monotonic() - started < 4
    assert len(onegate.reports) == 1


def test_nothing_of_the_context_is_executed(guest: Guest, onegate: OneGate) -> None:
    guest.tell(onegate.endpoint, more=f'export X="$(touch {guest.root}/executed)"')
    assert guest.report().returncode == 0
    guest.tell(f'{onegate.endpoint}"\nheader = "X-Evil: 1', token='a"b\\c')
    guest.report()
    assert not (guest.root / "executed").exists()
    assert all(report.header("X-Evil") == "" for report in onegate.reports)


def test_a_token_with_odd_characters_arrives_whole(guest: Guest, onegate: OneGate) -> None:
    guest.tell(onegate.endpoint, token='a"b\\c$d')
    guest.report()
    assert onegate.reports[0].header("X-ONEGATE-TOKEN") == 'a"b\\c$d'


def test_a_proxy_of_the_context_is_used(guest: Guest, onegate: OneGate) -> None:
    guest.tell("http://192.0.2.1:5030")
    guest.report(http_proxy=onegate.endpoint, no_proxy="")
    assert [report.path for report in onegate.reports] == ["http://192.0.2.1:5030/vm"]
