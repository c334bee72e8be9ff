"""A cell's request becomes a machine with the right context, and never outlives its block."""

import inspect
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.machine import cell
from harness.machine.cell import CellRequest, context_of, open_machine
from harness.machine.nspawn import NspawnMachine
from harness.machine.overlay import image_facts
from harness.machine.protocol import Machine
from harness.machine.qemu import QemuMachine
from harness.profiles import Profile
from harness.redaction import Redactor
from tests.context import iso9660
from tests.machine.conftest import FakeQemu

Request = Callable[..., CellRequest]


@pytest.fixture
def request_for(image: Path, profile: Profile, tmp_path: Path) -> Request:
    def make(**changes: Any) -> CellRequest:
        values: dict[str, Any] = {
            "profile": profile,
            "tls_mode": "selfsigned",
            "machine": "qemu",
            "image": image,
            "context": {"ONEAPP_SLM_TLS_MODE": "selfsigned", "REPORT_READY": "NO"},
            "accelerator": "tcg",
            "work": tmp_path / "work",
        }
        return CellRequest(**{**values, **changes})

    return make


PROPERTIES = ("kind", "accelerator", "guest_address", "nic", "public_key", "host_address", "host_listen")


@pytest.mark.parametrize("implementation", [QemuMachine, NspawnMachine])
def test_both_machines_keep_to_the_protocol(implementation: type) -> None:
    for name, wanted in inspect.getmembers(Machine, inspect.isfunction):
        if name.startswith("_"):
            continue
        given = getattr(implementation, name)
        assert inspect.signature(given) == inspect.signature(wanted), name
    for name in PROPERTIES:
        made = {
            *dir(implementation),
            *inspect.getsource(implementation.__init__).replace("self.", " ").split(),
        }
        assert name in made


def test_the_context_disk_holds_what_the_cell_asks_for(
    request_for: Request, fake_qemu: FakeQemu, tmp_path: Path
) -> None:
    fake_qemu()
    with open_machine(request_for()) as machine:
        assert (machine.kind, machine.accelerator, machine.guest_address) == ("qemu", "tcg", "10.0.2.15")
        (iso,) = (tmp_path / "work").glob("*/context.iso")
        files = iso9660.files(iso)
    context = files["context.sh"].decode()
    assert set(files) == {"context.sh", "token.txt"}
    assert "\nONEAPP_SLM_TLS_MODE='selfsigned'\n" in context
    assert "\nONEAPP_SLM_THREADS=''\n" in context
    assert "\nREPORT_READY='NO'\n" in context
    assert "\nETH0_IP='10.0.2.15'\n" in context
    assert "\nSSH_PUBLIC_KEY='ssh-ed25519 " in context


def test_the_machine_is_closed_when_the_block_fails(
    request_for: Request, fake_qemu: FakeQemu, tmp_path: Path
) -> None:
    fake_qemu()

    def interrupted() -> None:
        with open_machine(request_for()) as machine:
            machine.start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "work").iterdir()) == []


def test_secrets_of_the_context_are_masked_from_then_on(
    request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    redactor = Redactor()
    monkeypatch.setattr(cell, "REDACTOR", redactor)
    context = {
        "ONEAPP_SLM_ADMIN_PASSWORD": "correct-horse",
        "ONEAPP_SLM_TLS_KEY": "LS0tabc",
        "OTHER": "visible",
    }
    with open_machine(request_for(context=context)):
        assert redactor.redact("correct-horse LS0tabc visible") == (
            "[redacted: ONEAPP_SLM_ADMIN_PASSWORD] [redacted: ONEAPP_SLM_TLS_KEY] visible"
        )


def test_an_unknown_machine_lists_the_known_ones(request_for: Request) -> None:
    with (
        pytest.raises(HarnessError, match="unknown machine 'docker'") as caught,
        open_machine(request_for(machine="docker")),
    ):
        pytest.fail("it was opened")
    assert caught.value.hint == "accepted are qemu, nspawn"


def test_leftovers_of_dead_runs_are_cleared_first(
    request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared = []
    monkeypatch.setattr(cell, "clear_leftovers", lambda: cleared.append(True))
    with open_machine(request_for()):
        assert cleared == [True]


def test_a_cell_may_ask_for_a_cpu_an_address_and_a_disk(
    request_for: Request, fake_qemu: FakeQemu, tmp_path: Path
) -> None:
    fake_qemu()
    disk = tmp_path / "copy.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "3G"], check=True)
    wanted = request_for(cpu="Nehalem", address=IPv4Interface("10.0.2.40/24"), disk=disk)
    with open_machine(wanted) as machine:
        assert (machine.guest_address, machine.nic.mac) == ("10.0.2.40", "02:00:0a:00:02:28")
        (iso,) = (tmp_path / "work").glob("*/context.iso")
        assert "\nETH0_IP='10.0.2.40'\n" in iso9660.files(iso)["context.sh"].decode()
        machine.start()
        (overlay,) = (tmp_path / "work").glob("*/disk.qcow2")
        facts = image_facts(overlay)
        assert (facts["virtual-size"], facts["full-backing-filename"]) == (3 << 30, str(disk))
        machine.save_evidence(tmp_path / "evidence")
    assert "-cpu\nNehalem\n" in (tmp_path / "evidence" / "qemu-command.txt").read_text()


@pytest.mark.parametrize(
    ("wish", "hint"),
    [
        ({"cpu": "Nehalem"}, "use the machine qemu"),
        ({"address": IPv4Interface("10.0.2.40/24")}, "use `machine.move_to`"),
    ],
)
def test_what_a_container_cannot_have_is_refused_with_a_hint(
    request_for: Request, wish: dict[str, Any], hint: str
) -> None:
    with pytest.raises(HarnessError) as caught, open_machine(request_for(machine="nspawn", **wish)):
        pytest.fail("it was opened")
    assert caught.value.hint.startswith(hint)


def test_a_changed_context_is_the_one_before_with_changes(
    request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    redactor = Redactor()
    monkeypatch.setattr(cell, "REDACTOR", redactor)
    before = {"ONEAPP_SLM_DOMAIN": "a.test", "ONEAPP_SLM_ADMIN_PASSWORD": "correct-horse"}
    changes = {"ONEAPP_SLM_DOMAIN": "", "ONEAPP_SLM_ADMIN_PASSWORD": "battery-staple"}
    with open_machine(request_for(context=before)) as machine:
        text = context_of(machine, before, **changes)["context.sh"].decode()
    assert "\nONEAPP_SLM_DOMAIN=''\n" in text
    assert "battery-staple" not in redactor.redact(text)
