"""Pebble, Let's Encrypt's ACME server for tests, on the host: it really asks the guest's port 80.

Pebble and its DNS server (pebble-challtestsrv) come from Debian's package `pebble`. Each run makes its own
root, accounts and certificate for the directory; nothing outlives the run.
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.deadline import Deadline, wait_until
from harness.errors import HarnessError
from harness.machine.ports import candidate_ports
from harness.machine.protocol import HostAddress, Machine
from harness.machine.tether import end, start_tethered
from harness.peers.private_ca import make_authority, make_server

PROGRAMS = ("pebble", "pebble-challtestsrv")
START_WITHIN_S = 15.0
VALIDITY_S = 90 * 24 * 3600
"""Life of the certificates, Let's Encrypt's own; Pebble's default is five years."""

ENVIRONMENT = {
    # Validates at once instead of after up to 15 s.
    "PEBBLE_VA_NOSLEEP": "1",
    # Every order is validated anew: half of them would otherwise be believed for an earlier one's sake.
    "PEBBLE_AUTHZREUSE": "0",
}

_ORDER = re.compile(r'Added order "')
_VALIDATED = re.compile(r"authz \S+ set VALID by completed challenge")
_ASKED = re.compile(r"Attempting to validate w/ HTTP: (\S+)")


@dataclass(frozen=True)
class Ports:
    """TCP ports of one Pebble: two on the address the guest sees, two on the loopback."""

    directory: int
    management: int
    dns: int
    dns_management: int


@dataclass(frozen=True)
class Pebble:
    """A running ACME server. `directory_url` is as the guest reaches it, `ca_pem` what verifies its TLS."""

    directory_url: str
    ca_pem: str
    log_file: Path
    guest: HostAddress
    _listen: str
    _ports: Ports
    _tls: ssl.SSLContext

    def context(self, domain: str) -> dict[str, str]:
        """The context variables of TLS mode letsencrypt with this server."""
        return {
            "ONEAPP_SLM_TLS_MODE": "letsencrypt",
            "ONEAPP_SLM_DOMAIN": domain,
            "ONEAPP_SLM_ACME_DIRECTORY": self.directory_url,
            "ONEAPP_SLM_ACME_CA": base64.b64encode(self.ca_pem.encode()).decode(),
        }

    def root_pem(self) -> str:
        """The root that the issued certificates lead to; made anew at every start of Pebble."""
        return self._manage("roots/0").decode()

    def status_of(self, serial: int) -> str:
        """Valid or Revoked. HarnessError for a certificate that this server never issued."""
        facts: Mapping[str, Any] = json.loads(self._manage(f"cert-status-by-serial/{serial:x}"))
        return str(facts["Status"])

    def orders(self) -> int:
        """How many certificates were asked for so far, whatever became of it."""
        return len(_ORDER.findall(self.log()))

    def validations(self) -> int:
        """How many authorizations became valid through a challenge so far."""
        return len(_VALIDATED.findall(self.log()))

    def asked_urls(self) -> tuple[str, ...]:
        """The URLs of the guest that were fetched to validate, in order; each is fetched three times."""
        return tuple(_ASKED.findall(self.log()))

    def log(self) -> str:
        """What Pebble has said since it was started."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def resolve(self, *, to_guest: bool) -> None:
        """Whether every name leads to the guest, as it does at first, or to no address at all."""
        body = json.dumps({"ip": self.guest.host if to_guest else ""}).encode()
        url = f"http://127.0.0.1:{self._ports.dns_management}/set-default-ipv4"
        _request(url, body=body)

    def _manage(self, path: str) -> bytes:
        return _request(f"https://{self._listen}:{self._ports.management}/{path}", tls=self._tls)


@contextmanager
def open_pebble(machine: Machine, work: Path, *, refused_nonces: int = 0) -> Iterator[Pebble]:
    """Run Pebble for the guest of `machine`, which may be off; its files are in `work`, a folder of its own.

    `refused_nonces` is the share of good nonces, in percent, that it doesn't take. Pebble's own 5 would make
    a client that behaves well order a second time once in a while, and nobody could count orders.

    Raises HarnessError when the package is missing or Pebble doesn't start.
    """
    guest = machine.forward(80)
    with serve(
        guest,
        listen=machine.host_listen,
        address=machine.host_address,
        work=work,
        refused_nonces=refused_nonces,
    ) as pebble:
        yield pebble


@contextmanager
def serve(
    guest: HostAddress, *, listen: str, address: str, work: Path, refused_nonces: int = 0
) -> Iterator[Pebble]:
    """Run Pebble on the host's address `listen`; it finds every name's port 80 at `guest`.

    `address` is what the certificate of the directory is for beside `listen`: how the guest calls this host.
    """
    work.mkdir(parents=True, exist_ok=True)
    authority = make_authority("Test directory CA")
    names = list(dict.fromkeys((address, listen)))
    server = make_server(authority, addresses=names, days=30)
    (work / "directory.pem").write_text(server.pem, encoding="ascii")
    key = work / "directory.key"
    key.touch(mode=0o600)
    key.write_text(server.key_pem(), encoding="ascii")
    ports = Ports(*candidate_ports(4))
    tls = ssl.create_default_context(cadata=authority.pem)
    pebble = Pebble(
        directory_url=f"https://{address}:{ports.directory}/dir",
        ca_pem=authority.pem,
        log_file=work / "pebble.log",
        guest=guest,
        _listen=listen,
        _ports=ports,
        _tls=tls,
    )
    (work / "pebble.json").write_text(json.dumps(_configuration(pebble, work)), encoding="utf-8")
    with ExitStack() as running:
        dns, acme = _commands(pebble, work)
        started = [
            _run(running, dns, work / "dns.log", work),
            _run(running, acme, pebble.log_file, work, PEBBLE_WFE_NONCEREJECT=str(refused_nonces)),
        ]
        _wait_until_it_serves(pebble, started)
        key.unlink()  # it has been read, and the folder may be kept as evidence
        yield pebble


def _configuration(pebble: Pebble, work: Path) -> dict[str, Any]:
    ports = pebble._ports
    return {
        "pebble": {
            "listenAddress": f"{pebble._listen}:{ports.directory}",
            "managementListenAddress": f"{pebble._listen}:{ports.management}",
            "certificate": str(work / "directory.pem"),
            "privateKey": str(work / "directory.key"),
            "httpPort": pebble.guest.port,
            "tlsPort": pebble.guest.port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": VALIDITY_S,
        }
    }


def _commands(pebble: Pebble, work: Path) -> tuple[list[str], list[str]]:
    ports = pebble._ports
    dns = [
        "pebble-challtestsrv",
        *("-dns01", f"127.0.0.1:{ports.dns}"),
        *("-management", f"127.0.0.1:{ports.dns_management}"),
        *("-defaultIPv4", pebble.guest.host, "-defaultIPv6", ""),
        # It answers DNS only: challenges are answered by the guest or not at all.
        *("-http01", "", "-https01", "", "-tlsalpn01", ""),
    ]
    acme = ["pebble", "-config", str(work / "pebble.json"), "-dnsserver", f"127.0.0.1:{ports.dns}"]
    return dns, acme


def _run(
    running: ExitStack, command: list[str], log: Path, work: Path, **more: str
) -> subprocess.Popen[bytes]:
    settings = [f"{name}={value}" for name, value in {**ENVIRONMENT, **more}.items()]
    # Whoever started us must not be able to switch validation off.
    unset = [f"--unset={name}" for name in os.environ if name.startswith("PEBBLE_")]
    with log.open("wb") as output:
        process = start_tethered(
            ["env", *unset, *settings, *command], stdout=output, stderr=output, folder=work
        )
    running.callback(end, process, grace=2)
    return process


def _wait_until_it_serves(pebble: Pebble, started: list[subprocess.Popen[bytes]]) -> None:
    def look(last_try: bool) -> bool | None:  # noqa: ARG001  (every check has this signature)
        for process, name in zip(started, reversed(PROGRAMS), strict=True):
            if process.poll() == 127:
                raise HarnessError(f"{name} is not installed", hint="run `make setup`")
            if process.poll() is not None:
                words = pebble.log().strip().splitlines() or ["it said nothing"]
                raise HarnessError(f"{name} ended with status {process.returncode}: {words[-1]}")
        try:
            pebble.root_pem()
            pebble.resolve(to_guest=True)
        except HarnessError:
            return None
        return True

    wait_until(look, Deadline.after(START_WITHIN_S), what="the ACME server Pebble", interval=0.1)


def _request(url: str, *, body: bytes | None = None, tls: ssl.SSLContext | None = None) -> bytes:
    """GET, or POST with a body, straight to the server whatever the environment says of proxies."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=tls))
    try:
        with urllib.request.build_opener(*handlers).open(url, data=body, timeout=10) as answer:
            content: bytes = answer.read()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise HarnessError(f"Pebble's {url} does not answer: {error}") from error
    return content
