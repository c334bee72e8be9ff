"""The password and the key are where they belong and nowhere else; the whole suite has run by now."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from harness.cell.options import CellOptions
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from suites.conformance.ask import COUNT
from suites.conformance.guest_facts import FileFacts, file_facts

# The forms of the secret come as lines on stdin and are never an argument: a program's arguments are public.
PRELUDE = """
forms=$(cat)
search() { grep --text --fixed-strings --file=<(printf '%s\\n' "$forms") "$@" 2>/dev/null; }
files() { search --recursive --devices=skip --files-with-matches "$@"; }
"""

PROXYS_COPIES = "/run/slm-proxy/"
"""Nginx, which isn't root, has key and password map there while it runs."""

UNIT_FOLDERS = "/etc/systemd /run/systemd/system /run/systemd/generator /usr/lib/systemd/system"

PLACES = {
    "any process's arguments": "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | search --count",
    "any process's environment": "search --files-with-matches /proc/[0-9]*/environ",
    "the journal": "journalctl --no-pager --output=export --boot | search --count",
    "the appliance's logs": "files /var/log/one-appliance",
    "any other log": "files /var/log",
    "unit files": f"files {UNIT_FOLDERS}",
    "the message of the day": "files /etc/motd /etc/motd.d /etc/issue",
    "temporary folders": "files /tmp /var/tmp /dev/shm",
    "root's home": "files /root",
    "the kernel's log": "dmesg | search --count",
    "the appliance's own code": "files --exclude-dir=models --exclude-dir=engine /opt/slm-copilot",
}


def forms(appliance: ApplianceAddress) -> tuple[str, ...]:
    """The password, and the password as Basic authentication sends it."""
    pair = f"{appliance.username}:{appliance.password}"
    return appliance.password, base64.b64encode(pair.encode()).decode()


def matches(machine: Machine, appliance: ApplianceAddress, command: str) -> str:
    """What a search for the secret prints in the guest; empty or 0 means it is not there."""
    secret = "\n".join(forms(appliance)).encode() + b"\n"
    return machine.run(PRELUDE + command, timeout=120, input=secret).stdout.strip()


@pytest.mark.parametrize("place", PLACES)
def test_the_password_is_not_in(place: str, machine: Machine, appliance: ApplianceAddress) -> None:
    found = matches(machine, appliance, PLACES[place])
    assert found in ("", "0"), f"it is in {found.splitlines()[:10]}"


def test_the_search_would_find_it(machine: Machine, appliance: ApplianceAddress) -> None:
    assert matches(machine, appliance, "search --count /etc/one-appliance/config") == "1"


def test_the_password_is_not_on_the_console(machine: Machine, appliance: ApplianceAddress) -> None:
    text = machine.console_text()
    shown = [form for form in forms(appliance) if form in text]
    assert not shown, "the console shows the password"


@pytest.fixture(scope="module")
def holders(machine: Machine, appliance: ApplianceAddress) -> dict[str, FileFacts]:
    """Every file of the system's own folders that holds the password."""
    found = matches(machine, appliance, "files /etc /var/lib /var/cache /run /srv /home")
    return file_facts(machine, found.splitlines())


def test_only_root_can_read_files_with_the_password(holders: dict[str, FileFacts]) -> None:
    assert "/etc/one-appliance/config" in holders
    open_files = {name: facts.mode for name, facts in holders.items() if facts.mode not in ("0600", "0400")}
    assert not open_files, f"{open_files}"
    owners = {name: facts.owner for name, facts in holders.items() if not name.startswith(PROXYS_COPIES)}
    assert set(owners.values()) == {"root"}, f"{owners}"


def test_nginxs_copies_are_its_own_on_tmpfs(machine: Machine) -> None:
    facts = file_facts(machine, [PROXYS_COPIES, f"{PROXYS_COPIES}key.pem", f"{PROXYS_COPIES}auth.conf"])
    found = {name: (each.mode, each.owner) for name, each in facts.items()}
    assert found == {
        PROXYS_COPIES: ("0700", "www-data"),
        f"{PROXYS_COPIES}key.pem": ("0400", "www-data"),
        f"{PROXYS_COPIES}auth.conf": ("0400", "www-data"),
    }
    assert machine.run(f"stat -f -c %T {PROXYS_COPIES}").stdout.strip() == "tmpfs"


def test_the_private_key_is_where_its_maker_and_nginx_need_it_only(
    machine: Machine, cell: CellOptions
) -> None:
    key = machine.run("sed -n 2p /etc/ssl/slm-copilot/key.pem").stdout.strip().encode()
    folders = "/etc /opt/slm-copilot/appliance /var/log /var/lib /run /tmp /root"
    result = machine.run(f"{PRELUDE}files {folders}", timeout=120, input=key + b"\n")
    found = [name for name in result.stdout.split() if name != f"{PROXYS_COPIES}key.pem"]
    makers = [name for name in found if name.startswith("/etc/letsencrypt/archive/")]
    assert len(makers) == (cell.tls_mode == "letsencrypt"), f"it is in {found}"
    served = [name for name in found if name not in makers]
    assert len(served) == 1, f"it is in {found}"
    assert served[0].startswith("/etc/ssl/slm-copilot/"), f"it is in {found}"


def test_nobody_but_root_can_read_configuration_with_secrets(machine: Machine) -> None:
    facts = file_facts(
        machine,
        ["/etc/slm-copilot/engine.env", "/etc/ssl/slm-copilot/key.pem", "/etc/one-appliance/config"],
    )
    assert facts["/etc/slm-copilot/engine.env"].mode == "0640"
    assert facts["/etc/slm-copilot/engine.env"].group == "slm-engine"
    assert facts["/etc/ssl/slm-copilot/key.pem"].mode == "0600"
    assert facts["/etc/one-appliance/config"].mode == "0600"


def test_the_engines_user_cannot_read_them_either(machine: Machine) -> None:
    copies = (f"{PROXYS_COPIES}key.pem", f"{PROXYS_COPIES}auth.conf")
    for name in ("/etc/one-appliance/config", "/etc/ssl/slm-copilot/key.pem", "/etc/shadow", *copies):
        result = machine.run(f"setpriv --reuid=slm-engine --regid=slm-engine --clear-groups cat {name}")
        assert result.exit_status != 0, f"slm-engine can read {name}"


def test_the_evidence_the_harness_saves_has_no_secret(
    machine: Machine, appliance: ApplianceAddress, tmp_path: Path
) -> None:
    machine.save_evidence(tmp_path)
    saved = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert saved, "no evidence was saved"
    leaking = [
        str(path.relative_to(tmp_path))
        for path in saved
        if any(form.encode() in path.read_bytes() for form in forms(appliance))
        or b"PRIVATE KEY-----\n" in path.read_bytes()
    ]
    assert not leaking


def test_what_people_ask_is_not_logged(machine: Machine) -> None:
    asked = f"{COUNT}\n".encode()
    journal = machine.run(PRELUDE + PLACES["the journal"], timeout=120, input=asked).stdout.strip()
    logs = machine.run(PRELUDE + PLACES["any other log"], timeout=120, input=asked).stdout.strip()
    assert (journal, logs) == ("0", "")
