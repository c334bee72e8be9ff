"""How little the services may do: their unit's settings, and what the kernel says of the running process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output

ENGINE = "slm-engine.service"
HIGHEST_EXPOSURE = 2.0
"""Of `systemd-analyze security`, 0 (nothing allowed) to 10; below 2.5 it says "OK"."""

SETTINGS = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectProc": "invisible",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "RestrictNamespaces": "yes",
    "SystemCallArchitectures": "native",
    "User": "slm-engine",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_engines_sandbox_has(units: dict[str, dict[str, str]], setting: str) -> None:
    assert units[ENGINE].get(setting) == SETTINGS[setting]


def test_the_engine_may_use_few_system_calls(units: dict[str, dict[str, str]]) -> None:
    allowed = units[ENGINE].get("SystemCallFilter", "").split()
    assert allowed, "no system call filter"
    forbidden = {"mount", "reboot", "kexec_load", "init_module", "ptrace", "bpf", "swapon"} & set(allowed)
    inverted = units[ENGINE]["SystemCallFilter"].startswith("~")
    assert inverted or not forbidden, f"the filter allows {forbidden}"


def test_the_engine_may_use_few_address_families(units: dict[str, dict[str, str]]) -> None:
    families = set(units[ENGINE].get("RestrictAddressFamilies", "").split())
    assert families, "no restriction of address families"
    assert families <= {"AF_INET", "AF_INET6", "AF_UNIX"}, f"{families}"


def test_the_engine_may_talk_to_the_loopback_only(units: dict[str, dict[str, str]]) -> None:
    deny, allow = units[ENGINE].get("IPAddressDeny", ""), units[ENGINE].get("IPAddressAllow", "")
    assert {"0.0.0.0/0", "::/0"} <= set(deny.split()), f"IPAddressDeny={deny!r}"
    assert set(allow.split()) <= {"127.0.0.0/8", "127.0.0.1/32", "::1/128"}, f"IPAddressAllow={allow!r}"


@pytest.fixture(scope="module")
def process(units: dict[str, dict[str, str]], machine: Machine) -> dict[str, str]:
    text = output(machine, f"cat /proc/{units[ENGINE]['MainPID']}/status")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ],
)
def test_the_kernel_says_of_the_running_engine(process: dict[str, str], field: str, wanted: str) -> None:
    assert process.get(field) == wanted


@pytest.mark.parametrize("unit", ["slm-engine.service", "nginx.service", "slm-watchdog.service"])
def test_systemd_rates_the_exposure_as_low(
    unit: str, machine: Machine, record_metric: Callable[..., None]
) -> None:
    """The settings the service manager loaded, drop-ins included, by systemd's own weights."""
    text = output(machine, f"systemd-analyze security --no-pager {unit}", timeout=120)
    last = text.splitlines()[-1]
    exposure = float(next(word for word in last.split() if word.replace(".", "", 1).isdigit()))
    record_metric(f"exposure_{unit.removesuffix('.service')}", "of 10", exposure, n=1)
    allowed = "\n".join(line for line in text.splitlines() if line.startswith("✗"))
    assert exposure <= HIGHEST_EXPOSURE, f"{last.strip()}\n{allowed}"


def test_no_process_of_nginx_is_root_or_has_its_rights(machine: Machine) -> None:
    only_low_ports = "0000000000000400"
    for pid in output(machine, "pgrep -x nginx").split():
        text = output(machine, f"cat /proc/{pid}/status")
        found = {
            name: value.split() for name, _, value in (line.partition(":") for line in text.splitlines())
        }
        assert "0" not in found["Uid"], f"process {pid} runs as root"
        assert found["CapBnd"] == [only_low_ports], f"process {pid} may have {found['CapBnd']}"
        assert (found["NoNewPrivs"], found["Seccomp"]) == (["1"], ["2"])
