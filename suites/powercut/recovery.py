"""The boot after a cut: is the appliance whole again?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from harness.cell.own_guests import OpenGuest, ReadyDeadline
from harness.client.certificate import read_certificate
from harness.client.https import ApplianceAddress, open_client
from harness.errors import HarnessError
from harness.machine.protocol import Machine
from harness.redaction import REDACTOR
from suites.conformance.guest_facts import output, sections
from suites.powercut.instants import Instant

AT_A_TIME = 3
"""Containers that recover side by side: a boot waits as much as it works."""

GATHER = r"""
tls=/etc/ssl/slm-copilot
password=$(sed -n 's/^password=//p' /etc/one-appliance/config)
echo '== status';      cat /etc/one-appliance/status
echo '== certificate'; cat $tls/cert.pem
echo '== password';    printf '%s\n' "$password"
echo '== kept';        cut -d' ' -f2- /etc/slm-copilot/admin-password
echo '== pairs';       ls -d $tls/pair.*
echo '== current';     readlink -f $tls/current
echo '== public keys'; openssl x509 -in $tls/cert.pem -noout -pubkey | sha256sum
                       openssl pkey -in $tls/key.pem -pubout | sha256sum
echo '== host keys';   for key in /etc/ssh/ssh_host_*_key; do
                         ssh-keygen -y -f "$key" >/dev/null && echo "$key"
                       done
echo '== leftovers';   find /etc /opt/slm-copilot /var/lib/slm-copilot /var/log/one-appliance -xdev \
                         -newer /opt/slm-copilot/flavor.env -regextype posix-extended \
                         \( -regex '.*/\.[^/]+\.[A-Za-z0-9]{6}' -o -regex '.*/\.[^/]+\.link' \
                            -o -regex '.*/\.slm-copilot-check\..*' -o -type p \) 2>/dev/null
echo '== failed';      systemctl list-units --failed --no-legend --plain
echo '== end'
"""


@dataclass(frozen=True)
class Expected:
    """What the context of the boot after the cut asks for ("": anything): the certificate names `domain` and
    `password` is accepted; those of the context before are not in use any more."""

    domain: str
    password: str = field(default="", repr=False)
    former_domain: str = ""
    former_password: str = field(default="", repr=False)


def recover_all(
    instants: Sequence[Instant],
    open_guest: OpenGuest,
    ready_deadline: ReadyDeadline,
    context: Mapping[str, str],
    expected: Expected,
    *,
    machine: str,
    scratch: Path,
) -> list[list[str]]:
    """Boot every disk, a few at a time; the faults of each in order."""

    def recover(instant: Instant) -> list[str]:
        opened = open_guest(context, disk=instant.disk, machine=machine)
        return _boot_and_judge(opened, ready_deadline, expected, scratch)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(recover, instants))


class _NotWhole(Exception):
    """Leaves the guest's block so that its evidence is saved."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _boot_and_judge(
    opened: AbstractContextManager[Machine], ready_deadline: ReadyDeadline, expected: Expected, scratch: Path
) -> list[str]:
    try:
        with opened as machine:
            machine.start()
            machine.wait_ready(ready_deadline())
            if faults := faults_of(machine, expected, scratch):
                raise _NotWhole(faults)
    except _NotWhole as broken:
        return broken.faults
    except HarnessError as error:
        return [f"it did not get ready: {error}"]
    return []


def faults_of(machine: Machine, expected: Expected, scratch: Path) -> list[str]:
    """What is not as it must be in a guest that says it is ready."""
    part = {name: text.strip() for name, text in sections(output(machine, GATHER, timeout=120)).items()}
    REDACTOR.add(part["password"], "admin password")
    faults = faults_on_disk(part)
    if not part["certificate"] or not part["password"]:
        return [*faults, "there is no certificate or no password in the report"]
    names = read_certificate(part["certificate"]).names
    if expected.domain not in names:
        faults.append(f"the certificate lacks {expected.domain}: {', '.join(names)}")
    if expected.former_domain in names:
        faults.append(f"the certificate still names {expected.former_domain}")
    if expected.password not in ("", part["password"]):
        faults.append("the report has another password than the context")
    return faults + _over_https(machine, part, expected, scratch)


def faults_on_disk(part: Mapping[str, str]) -> list[str]:
    """What the parts that GATHER printed say about the disk."""
    keys = [line.split()[0] for line in part["public keys"].splitlines()]
    rules = {
        f"the status is {part['status']!r}": part["status"] == "bootstrap_success",
        "report and password file differ": part["kept"] == part["password"],
        f"pair folders {part['pairs']!r}, current is {part['current']!r}": part["pairs"] == part["current"],
        "the key does not belong to the certificate": len(set(keys)) == 1,
        f"SSH host keys: {part['host keys']!r}": part["host keys"].count("/etc/ssh/") >= 2,
        f"left over: {' '.join(part['leftovers'].split())}": not part["leftovers"],
        f"failed units: {part['failed']}": not part["failed"],
    }
    return [fault for fault, holds in rules.items() if not holds]


def _over_https(machine: Machine, part: Mapping[str, str], expected: Expected, scratch: Path) -> list[str]:
    address = _address(machine, part, scratch)
    faults = []
    try:
        with open_client(address, auth="none", read_timeout_s=60) as client:
            ask = partial(_status, client)
            if (status := ask("/readyz", "")) != 200:
                faults.append(f"/readyz answers {status}")
            if (status := ask("/v1/models", part["password"])) != 200:
                faults.append(f"the report's password is answered with {status}")
            if expected.former_password and ask("/v1/models", expected.former_password) != 401:
                faults.append("the former password is still accepted")
    except httpx.TransportError as error:
        faults.append(f"no verified connection: {error}")
    return faults


def _status(client: httpx.Client, path: str, password: str) -> int:
    return client.get(path, headers={"Authorization": f"Bearer {password}"} if password else {}).status_code


def _address(machine: Machine, part: Mapping[str, str], scratch: Path) -> ApplianceAddress:
    https = machine.forward(443)
    certificate = scratch / f"{https.host}-{https.port}.pem"
    certificate.write_text(part["certificate"] + "\n", encoding="ascii")
    return ApplianceAddress(
        base_url=f"https://{https.host}:{https.port}",
        ca_file=certificate,
        username="admin",
        password=part["password"],
    )
