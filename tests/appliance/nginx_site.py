"""The rendered site in a real nginx on loopback ports, for tests to talk to."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from bash_guest import Guest, required
from log_socket import Journal, open_journal
from recording_engine import Engine

PASSWORD = "Regex.chars+are/in~this_one-1="
ORIGIN = "https://ide.example.org"
CHAT = "/v1/chat/completions"
ROUTES = [("POST", CHAT), ("POST", "/v1/completions"), ("GET", "/v1/models")]
READY = '{"status":"ready","model":"smollm2-135m-instruct","engine":"llama-server"}\n'
CONFIGURE = (
    "load_flavor; validate_parameters; check_tls_mode; resolve_addresses;"
    "resolve_password; configure_tls; configure_proxy"
)


def bearer(password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": f"Bearer {password}"}


def basic(password: str = PASSWORD, user: str = "admin", scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} comes {len(values)} times: {values}"
        return values[0] if values else None

    def error(self) -> dict[str, object]:
        assert self.one("Content-Type") == "application/json", (self.status, self.headers, self.body)
        error = json.loads(self.body)["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        return dict(error)


@dataclass(frozen=True)
class Site:
    guest: Guest
    engine: Engine
    https_port: int
    http_port: int
    context: ssl.SSLContext
    journal: Journal

    def connection(self, timeout: float = 10) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.https_port, context=self.context, timeout=timeout
        )

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | str | None = None
    ) -> Answer:
        connection = self.connection()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def raw(self, data: bytes, *, tls: bool = True, port: int | None = None) -> Answer:
        """Send bytes as they are and read one answer, to its length or to the end of the connection."""
        target = port or self.https_port
        with socket.create_connection(("127.0.0.1", target), timeout=10) as plain:
            stream = self.context.wrap_socket(plain, server_hostname="localhost") if tls else plain
            stream.sendall(data)
            answer = b""
            while not _is_whole(answer) and (chunk := stream.recv(65536)):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Answer(int(lines[0].split()[1]), headers, body)

    def ready(self, yes: bool) -> None:
        path = self.guest.path("/run/slm-copilot/ready.json")
        if yes:
            path.write_text(READY)
            path.chmod(0o644)
        else:
            path.unlink(missing_ok=True)


def _is_whole(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = next(
        (line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), None
    )
    return bool(separator) and length is not None and len(body) >= int(length)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def running_site(
    guest: Guest, engine: Engine, *, configure: str = CONFIGURE, **variables: str
) -> Iterator[Site]:
    https_port, http_port = free_ports(2)
    guest.environment.update(
        SLM_HTTPS_PORT=str(https_port), SLM_HTTP_PORT=str(http_port), SLM_ENGINE_PORT=str(engine.port)
    )
    guest.run(configure, **variables)
    hand_over_secrets(guest)
    with open_journal(guest.path("/dev/log")) as journal:
        yield from _run_nginx(guest, engine, https_port, http_port, journal)


def hand_over_secrets(guest: Guest) -> None:
    """What nginx.service does before nginx starts."""
    folder = guest.path("/run/slm-proxy")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("/etc/ssl/slm-copilot/key.pem", "/etc/nginx/slm-copilot/auth.conf"):
        shutil.copy(guest.path(name), folder)


def _run_nginx(
    guest: Guest, engine: Engine, https_port: int, http_port: int, journal: Journal
) -> Iterator[Site]:
    nginx = subprocess.Popen(
        [required("nginx"), "-c", str(guest.path("/etc/nginx/nginx.conf")), "-g", "daemon off;"],
        stderr=subprocess.PIPE,
        text=True,
    )
    context = ssl.create_default_context(cafile=guest.path("/etc/ssl/slm-copilot/cert.pem"))
    try:
        _wait_for_port(https_port, nginx)
        yield Site(guest, engine, https_port, http_port, context, journal)
    finally:
        nginx.send_signal(signal.SIGTERM)
        nginx.communicate(timeout=10)


def _wait_for_port(port: int, nginx: subprocess.Popen[str]) -> None:
    for _ in range(100):
        if nginx.poll() is not None:
            pytest.fail(f"nginx ended: {nginx.communicate()[1]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("nginx doesn't listen")
