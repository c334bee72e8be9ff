"""Each thing that a cut may leave half-done is told, and a whole guest has no fault."""

from __future__ import annotations

import subprocess

import pytest

from suites.powercut.recovery import GATHER, faults_on_disk

WHOLE = {
    "status": "bootstrap_success",
    "password": "Sesame",
    "kept": "Sesame",
    "pairs": "/etc/ssl/slm-copilot/pair.a",
    "current": "/etc/ssl/slm-copilot/pair.a",
    "public keys": "1a  -\n1a  -",
    "host keys": "/etc/ssh/ssh_host_ecdsa_key\n/etc/ssh/ssh_host_ed25519_key",
    "leftovers": "",
    "failed": "",
}


def test_a_whole_guest_has_no_fault() -> None:
    assert faults_on_disk(WHOLE) == []


@pytest.mark.parametrize(
    ("part", "found", "told"),
    [
        ("status", "configure_started", "the status is 'configure_started'"),
        ("kept", "Ses", "report and password file differ"),
        ("pairs", "/etc/ssl/slm-copilot/pair.a\n/etc/ssl/slm-copilot/pair.b", "pair folders"),
        ("public keys", "1a  -\n2b  -", "the key does not belong to the certificate"),
        ("host keys", "/etc/ssh/ssh_host_ecdsa_key", "SSH host keys"),
        ("leftovers", "/etc/nginx/.slm-copilot-check.Ab12Cd", "left over: /etc/nginx/.slm-copilot-check"),
        ("failed", "nginx.service loaded failed", "failed units: nginx.service"),
    ],
)
def test_what_is_half_done_is_told(part: str, found: str, told: str) -> None:
    (fault,) = faults_on_disk({**WHOLE, part: found})
    assert fault.startswith(told)


def test_the_gathering_command_is_bash() -> None:
    assert subprocess.run(["bash", "-n"], input=GATHER.encode(), check=False).returncode == 0
