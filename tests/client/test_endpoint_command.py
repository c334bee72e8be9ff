"""`slm test-endpoint` against a small server: whom it tells what, what it runs, and what it leaves behind."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from scripted_server import make_certificate, serve, server_context

from harness.cell import plugin
from harness.cli import asked_password, test_endpoint
from harness.cli.main import main
from harness.cli.run_cell import endpoint_options
from harness.client.certificate import read_certificate
from harness.machine.endpoint import Endpoint
from harness.redaction import Redactor
from harness.results.model import Cell, read_results

PASSWORD = "Sesame0pen0Sesame0pen0Sesame0pen"
MODELS = json.dumps({"object": "list", "data": [{"id": "a-model", "object": "model"}]})

CHECKS = """
from pathlib import Path
import pytest

def test_of_the_appliance(
    appliance, accelerator, tls_mode, stretch, largest_context, record_metric, record_conditions
):
    assert (appliance.model, accelerator, tls_mode, stretch) == ("a-model", "unknown", "selfsigned", 4.0)
    assert largest_context == 262144
    assert len(appliance.password) == 32
    record_metric("speed", "tok/s", 3.0)
    record_conditions({"not_measurable_from_outside": "its boot"})

def test_the_password_is_where_nobody_else_can_see_it(appliance):
    for place in ("cmdline", "environ"):
        assert appliance.password.encode() not in Path(f"/proc/self/{place}").read_bytes()

@pytest.mark.xfail(strict=True, reason="our engine can't")
def test_what_another_engine_can():
    pass
"""
NEEDS_MORE = """
def test_it(%s):
    raise AssertionError("it was run")
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Reports, masks and signal handlers of the test's own."""
    monkeypatch.setattr(asked_password, "REDACTOR", Redactor())
    monkeypatch.setenv("SLM_REPORTS", str(tmp_path / "reports"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


Answers = Callable[[str], tuple[int, str]]


def good(path: str) -> tuple[int, str]:
    return (200, MODELS if path == "/v1/models" else '{"status": "ready"}')


@contextmanager
def appliance(
    folder: Path, answers: Answers = good, raw: Callable[[Any], None] | None = None
) -> Iterator[tuple[list[str], list[bytes]]]:
    """A server; the options that lead to it, and the requests it got. `raw` answers without HTTP's help."""
    certificate, key = make_certificate(folder)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    received: list[bytes] = []

    def reply(request: bytes, connection: Any) -> None:
        if not request:
            return
        received.append(request)
        if raw is not None:
            raw(connection)
            return
        status, body = answers(request.split()[1].decode())
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall((head + body).encode())

    pin = read_certificate(certificate.read_bytes()).fingerprint_sha256
    with serve(reply, server_context(certificate, key)) as port:
        options = ["--url", f"https://127.0.0.1:{port}", "--fingerprint", f"sha256:{pin}"]
        yield [*options, "--password-file", str(password)], received


def reports(folder: Path) -> list[Path]:
    return list((folder / "reports").glob("*")) if (folder / "reports").exists() else []


def test_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can be checked is; a fixture that needs the guest leaves its check out, and the count is told."""
    suite = tmp_path / "suites" / "conformance"
    suite.mkdir(parents=True)
    (suite / "test_outside.py").write_text(CHECKS)
    inside = [name for name in plugin.__all__ if name not in BLACK_BOX]
    for name in [*inside, "port_80"]:
        (suite / f"test_{name}.py").write_text(NEEDS_MORE % name)
    monkeypatch.setattr(test_endpoint, "SUITES_FOLDER", suite.parent)
    monkeypatch.setattr(test_endpoint, "suites_at_endpoint", lambda: {"conformance": 3})
    with appliance(tmp_path) as (options, _):
        assert main(["test-endpoint", *options]) == 0
    said = capsys.readouterr().out
    results = read_results(tmp_path / "reports" / "latest" / "results.json")
    (cell,) = results.cells
    assert (results.verdict, results.host.machine, results.image.model) == ("PASS", "endpoint", "a-model")
    assert (cell.name, cell.machine, cell.accelerator) == ("endpoint", "endpoint", "unknown")
    assert titles(cell) == {
        "of the appliance",
        "the password is where nobody else can see it",
        "what another engine can",
        "nothing secret in any file the harness writes",
    }
    assert f"{len(inside)} need the guest itself and were left out" in results.reason
    assert "1 ask port 80, which isn't known beside port" in results.reason
    assert results.reason in said
    assert results.command.startswith("make test-endpoint URL=https://127.0.0.1:")
    summary = (tmp_path / "reports/latest/summary.md").read_text()
    assert "- Image: none; it serves a-model\n" in summary
    assert "| endpoint | an appliance that runs already | PASS |" in summary
    assert "for the image" not in said
    assert "not measurable from outside: its boot\n" in said
    for file in (tmp_path / "reports").rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


BLACK_BOX = {
    "accelerator",
    "appliance",
    "largest_context",
    "port_80",
    "record_conditions",
    "record_metric",
    "stretch",
    "tls_mode",
}
"""Of the plugin's fixtures those that an address is enough for. A new one is in here or needs the guest."""


def titles(cell: Cell) -> set[str]:
    return {check.title for check in cell.checks if check.status == "passed"}


def refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a request ends with: exit code 2, no traceback, no secret."""
    assert main(["test-endpoint", *options]) == 2
    said = capsys.readouterr()
    text = said.out + said.err
    assert "Traceback" not in text
    assert PASSWORD not in text
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (lambda path: (401, "{}") if path == "/v1/models" else (200, "{}"), "refuses the password"),
        (lambda _: (503, "{}"), "is not ready: /readyz answers 503"),
        (lambda _: (404, "{}"), "is no SLM-Copilot: /readyz answers 404"),
        (lambda path: (200, "no JSON") if path == "/v1/models" else (200, "{}"), "is no list of models"),
        (lambda path: (200, '{"data": []}') if path == "/v1/models" else (200, "{}"), "is no list of models"),
        (lambda _: (308, ""), "is no SLM-Copilot: /readyz answers 308"),
        (
            lambda path: (200, "[" * 100_000 if path == "/v1/models" else "{}"),
            "is no list of models",
        ),
    ],
)
def test_what_is_no_appliance_of_ours_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: Answers, told: str
) -> None:
    with appliance(tmp_path, answers) as (options, received):
        assert told in refused(options, capsys)
    assert reports(tmp_path) == [], "nothing was judged, and yet a run is left"
    for request in received:
        assert (b"Sesame" in request) is request.startswith(b"GET /v1/models "), request.split()[1]


def endless(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b"x" * 65536)


def broken_gzip(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (lambda connection: connection.sendall(b"220 mail.example ESMTP\r\n"), "broke off"),
        (lambda _: None, "broke off"),
        (broken_gzip, "broke off"),
        (endless, "its answer to /readyz has no end"),
    ],
)
def test_what_speaks_tls_and_not_as_an_appliance_does_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: Callable[[Any], None], told: str
) -> None:
    with appliance(tmp_path, raw=raw) as (options, received):
        assert told in refused(options, capsys)
    assert reports(tmp_path) == []
    assert not any(b"Sesame" in request for request in received)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"--url": ""}, "no https address"),
        ({"--url": "http://127.0.0.1"}, "plain HTTP"),
        ({"--fingerprint": "sha256:abcd"}, "64 hexadecimal digits"),
        ({"--fingerprint": "sha256:" + "ab" * 32}, "serves another certificate"),
        ({"--fingerprint": ""}, "does not verify with"),
        ({"--ca": "none.pem"}, "two ways"),
        ({"--password-file": "none"}, "can't read PASSWORD_FILE"),
        ({"--profile": "huge"}, "unknown profile"),
        ({"--tests": "suites/faults/test_flood.py"}, "names no check of conformance, acceptance"),
    ],
)
def test_a_slip_ends_it_before_the_password_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], told: str
) -> None:
    with appliance(tmp_path) as (options, received):
        for name, value in change.items():
            if name in options:
                options[options.index(name) + 1] = value
            else:
                options += [name, value]
        assert told in refused(options, capsys)
    assert received == [], "it was asked something although nothing was settled"
    assert reports(tmp_path) == []


def test_the_suites_at_an_endpoint_are_data() -> None:
    minimums = test_endpoint.suites_at_endpoint()
    assert list(minimums) == ["conformance", "acceptance"]
    assert minimums["conformance"] >= 200


def test_the_password_is_no_option_of_the_test_process() -> None:
    endpoint = Endpoint("https://a.example", Path("trust.pem"), PASSWORD, "--model", "selfsigned")
    options = endpoint_options(endpoint, 7)
    assert PASSWORD not in " ".join(options)
    assert "--endpoint-model=--model" in options, "a name from outside must not become an option"
