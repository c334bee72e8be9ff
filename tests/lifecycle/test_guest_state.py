"""The state of a guest as the lifecycle suite reads it, and how a difference is told."""

import dataclasses
import subprocess

import pytest

from harness.redaction import REDACTOR
from suites.lifecycle.guest_state import (
    GATHER,
    NEW_WITH_A_BOOT,
    ConfigurationFile,
    GuestState,
    difference,
    parse_state,
)

SECRET = "gYp3c0rTRgS6sQ9dUu5fXw7vZb1nKm2L"


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the gathering command prints, with real keys in it."""
    folder = tmp_path_factory.mktemp("keys")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / "key")], check=True
    )
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=guest", "-addext", "subjectAltName=DNS:guest,IP:10.0.2.15,DNS:localhost",
         "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "fingerprint").write_text(
        subprocess.run(
            ["ssh-keygen", "-l", "-f", str(folder / "key.pub")], check=True, capture_output=True, text=True
        ).stdout.split()[1]
    )
    return f"""== status
bootstrap_success
== report
[connection]
endpoint=https://10.0.2.15/v1
password={SECRET}

[engine]
threads=2
== certificate
{(folder / "tls.pem").read_text()}== host keys
/etc/ssh/ssh_host_ed25519_key.pub:{(folder / "key.pub").read_text()}== identity
0123456789abcdef0123456789abcdef
6d0b1c34-0000-4000-8000-000000000001
guest
== addresses
[{{"ifname":"lo","addr_info":[{{"local":"127.0.0.1","scope":"host"}}]}},
 {{"ifname":"eth0","addr_info":[{{"local":"fe80::1","scope":"link"}},{{"local":"10.0.2.15","scope":"global"}}]}}]
== units
MainPID=321
Id=slm-engine.service

MainPID=322
Id=nginx.service
== root
2032128 4096
== motd

 All set and ready to serve 8)
== listing
/etc/nginx\td\t0755\troot:root\t
/etc/nginx/nginx.conf\tf\t0644\troot:root\t
/etc/ssl/slm-copilot/current\tl\t0777\troot:root\tpair.abc
== hashes
{"a" * 64}  /etc/nginx/nginx.conf
== end
{(folder / "fingerprint").read_text()}
"""


@pytest.fixture(scope="module")
def state(gathered: str) -> GuestState:
    return parse_state(gathered)


def test_everything_the_guest_said_is_in_the_state(state: GuestState, gathered: str) -> None:
    assert (state.status, state.hostname, state.addresses) == ("bootstrap_success", "guest", ("10.0.2.15",))
    assert (state.engine_pid, state.proxy_pid) == (321, 322)
    assert state.names == ("10.0.2.15", "guest", "localhost")
    assert state.host_keys == {"ed25519": gathered.splitlines()[-1]}
    assert state.root_bytes == 2032128 * 4096
    assert state.report == {"connection.endpoint": "https://10.0.2.15/v1", "engine.threads": "2"}
    assert "All set" in state.motd


def test_files_have_mode_owner_and_content(state: GuestState) -> None:
    assert state.files["/etc/nginx/nginx.conf"] == ConfigurationFile("f", "0644", "root:root", "a" * 64)
    assert state.files["/etc/nginx"] == ConfigurationFile("d", "0755", "root:root", "")
    assert state.files["/etc/ssl/slm-copilot/current"].content == "pair.abc"


def test_the_password_is_read_and_masked(state: GuestState) -> None:
    assert state.password == SECRET
    assert SECRET not in repr(state)
    assert SECRET not in REDACTOR.redact(f"it was {SECRET}")


def test_a_guest_that_never_was_configured_has_a_state() -> None:
    bare = """== status
configure_failure
== report
== certificate
== host keys
== identity
0123456789abcdef0123456789abcdef
6d0b1c34-0000-4000-8000-000000000001
guest
== addresses
[]
== units
Id=slm-engine.service
MainPID=0
== root
1 4096
== motd
== listing
== hashes
== end
"""
    state = parse_state(bare)
    assert (state.password, state.fingerprint, state.names, state.engine_pid) == ("", "", (), 0)
    assert (state.report, state.files, state.host_keys) == ({}, {}, {})


def test_equal_states_differ_in_nothing(state: GuestState, gathered: str) -> None:
    assert difference(state, parse_state(gathered)) == ""


def test_a_difference_names_what_changed_from_what_to_what(state: GuestState) -> None:
    after = dataclasses.replace(state, hostname="other", engine_pid=7, names=("other",))
    assert difference(state, after).splitlines() == [
        "names: 10.0.2.15, guest, localhost -> other",
        "hostname: 'guest' -> 'other'",
        "engine_pid: 321 -> 7",
    ]


def test_a_difference_of_passwords_shows_neither(state: GuestState) -> None:
    other = dataclasses.replace(state, password="An0therSecret99An0therSecret9900")
    assert difference(state, other) == "password: one -> another one"
    assert difference(state, dataclasses.replace(state, password="")) == "password: one -> none"


def test_a_difference_of_files_says_how_each_changed(state: GuestState) -> None:
    files = {
        "/etc/nginx/nginx.conf": ConfigurationFile("f", "0600", "root:root", "b" * 64),
        "/etc/ssl/slm-copilot/current": ConfigurationFile("l", "0777", "root:root", "pair.xyz"),
        "/etc/hosts": ConfigurationFile("f", "0644", "root:root", "c" * 64),
    }
    assert difference(state, dataclasses.replace(state, files=files)).splitlines() == [
        "/etc/hosts: not there -> there",
        "/etc/nginx: there -> not there",
        "/etc/nginx/nginx.conf: mode 0644 -> 0600",
        "/etc/nginx/nginx.conf: another content",
        "/etc/ssl/slm-copilot/current: leads to pair.xyz instead of pair.abc",
    ]


def test_a_difference_of_the_report_names_section_and_key(state: GuestState) -> None:
    after = dataclasses.replace(state, report={**state.report, "engine.threads": "1"})
    assert difference(state, after) == "report engine.threads: '2' -> '1'"


@pytest.mark.parametrize("but", ["files", "files./etc/hosts", "files./etc/ho*"])
def test_what_may_differ_is_left_out(state: GuestState, but: str) -> None:
    after = dataclasses.replace(
        state, files={**state.files, "/etc/hosts": ConfigurationFile("f", "0644", "root:root", "c" * 64)}
    )
    assert difference(state, after) == "/etc/hosts: not there -> there"
    assert difference(state, after, but=[but]) == ""


def test_a_reboot_may_change_processes_and_the_boot_only(state: GuestState) -> None:
    after = dataclasses.replace(state, boot_id="other", engine_pid=1, proxy_pid=2, machine_id="f" * 32)
    assert difference(state, after, but=NEW_WITH_A_BOOT).startswith("machine_id: ")
    assert len(difference(state, after, but=NEW_WITH_A_BOOT).splitlines()) == 1


def test_the_gathering_command_is_good_bash() -> None:
    checked = subprocess.run(["bash", "-n"], input=GATHER, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
