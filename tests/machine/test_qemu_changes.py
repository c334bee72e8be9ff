"""What can be changed on a machine in QEMU: context, address, disk, clock; and its reboot from inside."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ApplianceError, HarnessError
from harness.machine import qemu
from harness.machine.overlay import image_facts
from harness.machine.ports import is_free
from harness.machine.qemu import QemuMachine
from harness.profiles import Profile
from tests.context import iso9660
from tests.machine.conftest import FakeQemu
from tests.machine.test_qemu_machine import Make, qemu_process


@pytest.fixture
def make(image: Path, profile: Profile, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def create(**changes: Any) -> QemuMachine:
            values = {"image": image, "profile": profile, "accelerator": "tcg", "work": tmp_path / "work"}
            machine = QemuMachine(**{**values, **changes})
            stack.callback(machine.close)
            return machine

        yield create


def executed(commands: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [command["arguments"] for command in commands if command["execute"] == name]


def human(commands: list[dict[str, Any]]) -> list[str]:
    return [arguments["command-line"] for arguments in executed(commands, "human-monitor-command")]


def test_a_running_guest_gets_another_disc(make: Make, fake_qemu: FakeQemu) -> None:
    commands = fake_qemu(console="slm-copilot: ready https://10.0.2.15/v1\n")
    machine = make()
    machine.insert_context({"context.sh": b"A='1'\n"})
    machine.start()
    machine.change_context({"context.sh": b"A='2'\n"})
    (change,) = executed(commands(), "blockdev-change-medium")
    assert (change["id"], change["format"], change["force"]) == ("context-cd", "raw", True)
    assert iso9660.files(Path(change["filename"])) == {"context.sh": b"A='2'\n"}
    assert machine.console.this_boot() == "", "the ready line of before would count for the new context"


def test_a_guest_that_is_off_gets_it_at_its_next_start(make: Make, fake_qemu: FakeQemu) -> None:
    commands = fake_qemu()
    machine = make()
    machine.change_context({"context.sh": b"A='1'\n"})
    machine.start()
    assert executed(commands(), "blockdev-change-medium") == []
    command = Path(f"/proc/{qemu_process(machine)}/cmdline").read_text()
    assert "context.iso" in command


def test_a_guest_without_a_context_disk_cannot_get_another(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make()
    machine.start()
    with pytest.raises(HarnessError, match="runs without a context disk"):
        machine.change_context({"context.sh": b""})


def test_a_moved_guest_is_reached_by_the_same_ports_once_it_was_told(make: Make, fake_qemu: FakeQemu) -> None:
    commands = fake_qemu()
    machine = make()
    machine.insert_context({"context.sh": b""})
    machine.start()
    before, mac = {port: machine.forward(port) for port in (22, 80, 443)}, machine.nic.mac
    machine.move_to(IPv4Interface("10.0.2.77/24"))
    assert (machine.guest_address, machine.nic.mac) == ("10.0.2.77", mac)
    assert not [line for line in human(commands()) if "10.0.2.77" in line]
    machine.change_context({"context.sh": b"ETH0_IP='10.0.2.77'\n"})
    https = before[443].port
    assert f"hostfwd_remove net tcp:127.0.0.1:{https}" in human(commands())
    assert f"hostfwd_add net tcp:127.0.0.1:{https}-10.0.2.77:443" in human(commands())
    assert {port: machine.forward(port) for port in (22, 80, 443)} == before


@pytest.mark.parametrize("address", ["10.0.3.1/24", "10.0.2.2/24", "10.0.2.0/24"])
def test_a_guest_moves_within_its_network_only(make: Make, address: str) -> None:
    with pytest.raises(HarnessError, match=r"can't move to .*") as caught:
        make().move_to(IPv4Interface(address))
    assert "10.0.2.0/24" in caught.value.hint


def test_a_port_can_be_asked_for_before_the_start_and_is_held(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make(wanted_ports={443: 28444})
    reserved = machine.forward(80)
    assert (machine.forward(80), machine.forward(443).port) == (reserved, 28444)
    assert not is_free(reserved.port)
    machine.start()
    assert machine.forward(80) == reserved


def test_a_reserved_port_is_let_go_with_the_machine(make: Make) -> None:
    machine = make()
    port = machine.forward(80).port
    machine.close()
    assert is_free(port)


def test_a_running_guests_disk_grows_through_qemu(make: Make, fake_qemu: FakeQemu) -> None:
    commands = fake_qemu()
    machine = make()
    machine.start()
    machine.grow_disk(3)
    assert executed(commands(), "block_resize") == [{"device": "disk", "size": 3 << 30}]


def test_the_disk_grows_while_the_guest_is_off(make: Make) -> None:
    machine = make()
    machine.grow_disk(3)
    assert image_facts(machine.disk)["virtual-size"] == 3 << 30


def test_a_disk_does_not_shrink(make: Make) -> None:
    with pytest.raises(HarnessError, match=r"the disk has 2\.0 GiB and can't become 1 GiB"):
        make().grow_disk(1)


def test_the_clock_is_set_at_the_next_start(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make()
    machine.set_clock(40 * 86400)
    machine.start()
    command = Path(f"/proc/{qemu_process(machine)}/cmdline").read_text()
    told = re.search(r"base=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", command)
    assert told is not None
    ahead = datetime.fromisoformat(told[1]).replace(tzinfo=UTC) - datetime.now(UTC)
    assert 40 * 86400 - 60 < ahead.total_seconds() <= 40 * 86400


def test_the_disk_is_copied_while_the_guest_stands_still(
    make: Make, fake_qemu: FakeQemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu()
    machine = make()
    machine.start()

    def state() -> str:
        return Path(f"/proc/{qemu_process(machine)}/stat").read_text().rpartition(")")[2].split()[0]

    seen = []
    copy = qemu.copy_file
    monkeypatch.setattr(qemu, "copy_file", lambda *paths: (seen.append(state()), copy(*paths)))
    machine.copy_disk(tmp_path / "copy.qcow2")
    assert (seen, state() == "T") == (["T"], False)
    assert (tmp_path / "copy.qcow2").read_bytes() == machine.disk.read_bytes()


def test_a_copied_disk_starts_another_machine(make: Make, tmp_path: Path) -> None:
    make().copy_disk(tmp_path / "copy.qcow2")
    assert image_facts(make(image=tmp_path / "copy.qcow2").disk)["virtual-size"] == 2 << 30


def test_a_reboot_waits_until_the_guest_is_down(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu(console="slm-copilot: ready https://10.0.2.15/v1\n", resets=[0.1, 1.0])
    machine = make()
    machine.start()
    time.sleep(0.3)
    asked = time.monotonic()
    machine.reboot(timeout=10)
    assert 0.3 < time.monotonic() - asked < 8, "the reset of before was taken for this one"
    assert machine.console.this_boot() == ""


def test_a_guest_that_does_not_go_down_is_at_fault(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make()
    machine.start()
    with pytest.raises(ApplianceError, match="did not go down for its reboot within 1 s"):
        machine.reboot(timeout=1)


def test_the_guest_finds_the_host_behind_its_gateway(make: Make) -> None:
    machine = make()
    assert (machine.host_address, machine.host_listen) == ("10.0.2.2", "127.0.0.1")
