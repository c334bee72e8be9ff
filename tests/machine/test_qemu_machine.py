"""A whole QEMU machine, its power switch and its accidents, against a QEMU that only pretends."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.errors import ApplianceError, HarnessError
from harness.machine import qemu
from harness.machine.protocol import HostAddress
from harness.machine.qemu import QemuMachine
from harness.profiles import Profile
from tests.machine.conftest import FakeQemu

Make = Callable[..., QemuMachine]


@pytest.fixture
def make(image: Path, profile: Profile, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def create(**changes: Any) -> QemuMachine:
            machine = QemuMachine(
                **{
                    "image": image,
                    "profile": profile,
                    "accelerator": "tcg",
                    "work": tmp_path / "work",
                    **changes,
                }
            )
            stack.callback(machine.close)
            return machine

        yield create


def forwards(commands: list[dict[str, Any]]) -> list[str]:
    lines = [c["arguments"]["command-line"] for c in commands if c["execute"] == "human-monitor-command"]
    return [line.rpartition(":")[2] for line in lines]


def qemu_process(machine: QemuMachine) -> int:
    assert machine._process is not None
    return machine._process.pid


def test_it_forwards_the_ports_before_the_guest_runs(make: Make, fake_qemu: FakeQemu) -> None:
    commands = fake_qemu(console="SeaBIOS\n")
    machine = make()
    machine.start()
    assert [c["execute"] for c in commands()][-1] == "cont"
    assert forwards(commands()) == ["22", "80", "443"]
    assert machine.forward(443).host == "127.0.0.1"
    assert "SeaBIOS" in machine.console_text()
    assert f"Port {machine.forward(22).port}\n" in machine.ssh_config().read_text()


def test_a_port_somebody_took_in_between_is_tried_elsewhere(make: Make, fake_qemu: FakeQemu) -> None:
    commands = fake_qemu(busy_attempts=3)
    machine = make()
    machine.start()
    assert forwards(commands()) == ["22", "22", "22", "22", "80", "443"]


def test_no_port_at_all_is_one_line(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu(busy_attempts=1000)
    machine = make()
    with pytest.raises(
        HarnessError, match=r"no free port on 127\.0\.0\.1 to forward to port 22 of the guest"
    ):
        machine.start()


def test_a_demanded_port_is_used(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make(wanted_ports={443: 28443})
    machine.start()
    assert machine.forward(443) == HostAddress("127.0.0.1", 28443)


def test_a_demanded_port_that_is_taken_is_told_before_anything_is_made(make: Make, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            HarnessError, match=f"port {port} on 127.0.0.1 is taken by another program"
        ) as caught:
            make(wanted_ports={22: port})
    assert caught.value.exit_code == 2
    assert not (tmp_path / "work").exists()


def test_a_demanded_port_taken_at_the_last_moment_is_one_line(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu(busy_ports=[28443])
    machine = make(wanted_ports={443: 28443})
    with pytest.raises(HarnessError, match=r"port 28443 on 127\.0\.0\.1 is taken by another program"):
        machine.start()


def test_ports_stay_the_same_over_a_power_cut(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make()
    machine.start()
    before = {port: machine.forward(port) for port in (22, 80, 443, 8080)}
    machine.power_cut()
    machine.start()
    assert {port: machine.forward(port) for port in (22, 80, 443, 8080)} == before


def test_the_last_boots_ready_line_does_not_count_after_a_reset(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu(console="slm-copilot: ready https://10.0.2.15/v1\n")
    machine = make()
    machine.start()
    first = machine.console.this_boot()
    machine.reset()
    assert machine.console.this_boot() == first
    assert machine.console_text() == first * 2


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'qemu-system-x86_64: -drive file=/x: Failed to get "write" lock\nIs another process using it?\n',
            'QEMU could not start the guest: -drive file=/x: Failed to get "write" lock',
        ),
        ("Segmentation fault\n", "QEMU could not start the guest: Segmentation fault"),
        ("", "QEMU could not start the guest: exit status 1"),
    ],
)
def test_qemu_that_does_not_start_is_told_in_its_own_words(
    make: Make, fake_qemu: FakeQemu, said: str, told: str
) -> None:
    fake_qemu(die_at_start=said)
    with pytest.raises(HarnessError) as caught:
        make().start()
    assert (str(caught.value), caught.value.exit_code) == (told, 2)


@pytest.mark.timing
def test_qemu_dying_mid_boot_ends_the_wait_and_is_infrastructure(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu(die_after_s=0.3, die_with="qemu-system-x86_64: failed to allocate memory\n")
    machine = make()
    machine.start()
    started = time.monotonic()
    with pytest.raises(
        HarnessError, match="QEMU ended while the guest was running: failed to allocate"
    ) as caught:
        machine.wait_ready(Deadline.after(60))
    assert time.monotonic() - started < 10
    assert caught.value.exit_code == 2
    with pytest.raises(HarnessError, match="QEMU ended"):
        machine.run("true")


def test_qemu_killed_from_outside_is_told(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make()
    machine.start()
    os.kill(qemu_process(machine), signal.SIGKILL)
    with pytest.raises(HarnessError, match="QEMU ended while the guest was running: killed by SIGKILL"):
        machine.wait_ready(Deadline.after(10))


@pytest.mark.timing
def test_a_guest_that_powers_itself_off_is_at_fault(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu(die_after_s=0.1, exit_status=0)
    machine = make()
    machine.start()
    with pytest.raises(ApplianceError, match="the guest powered itself off"):
        machine.wait_ready(Deadline.after(10))


def test_a_panic_ends_the_wait(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu(console="[ 1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
    machine = make()
    machine.start()
    with pytest.raises(ApplianceError, match="kernel panicked: VFS: Unable to mount root fs"):
        machine.wait_ready(Deadline.after(60))


def test_stop_presses_the_power_button(make: Make, fake_qemu: FakeQemu) -> None:
    commands = fake_qemu()
    machine = make()
    machine.start()
    machine.stop(timeout=10)
    assert commands()[-1]["execute"] == "system_powerdown"
    machine.stop()
    with pytest.raises(HarnessError, match="the machine is off"):
        machine.run("true")


def test_a_guest_that_will_not_stop_is_at_fault_and_off_all_the_same(
    make: Make, fake_qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(qemu, "POWER_BUTTON_S", 0.2)
    fake_qemu(ignore_power_button=True)
    machine = make()
    machine.start()
    process = qemu_process(machine)
    with pytest.raises(ApplianceError, match="the guest did not shut down within 1 s"):
        machine.stop(timeout=1)
    assert not Path(f"/proc/{process}").exists()
    assert "does not react to its power button" in capsys.readouterr().out


def test_closing_leaves_no_process_and_no_file(
    make: Make, fake_qemu: FakeQemu, tmp_path: Path, cache: Path
) -> None:
    fake_qemu()
    machine = make()
    machine.insert_context({"context.sh": b"A='1'\n"})
    machine.start()
    process, ssh_folder = qemu_process(machine), machine._ssh.socket_folder
    machine.close()
    machine.close()
    assert not Path(f"/proc/{process}").exists()
    assert list((tmp_path / "work").iterdir()) == []
    assert not ssh_folder.exists()
    assert list((cache / "machines").iterdir()) == []


def test_a_bad_image_leaves_nothing_behind(make: Make, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "no.qcow2").write_text("no disk")
    with pytest.raises(HarnessError, match="is not in qcow2 format"):
        make(image=tmp_path / "no.qcow2")
    assert list((tmp_path / "work").iterdir()) == []
    assert list((cache / "machines").iterdir()) == []


def test_more_memory_than_the_host_has_is_refused_with_the_sum(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.machine.host.available_memory_mib", lambda: 2000)
    large = Profile("large", vcpus=1, ram_mib=4096, disk_gib=2)
    with pytest.raises(HarnessError) as caught:
        make(profile=large)
    assert str(caught.value) == (
        "profile large needs 4396 MiB of memory (4096 for the guest and 300 beside it),"
        " this host has 2000 MiB available: 2396 MiB short"
    )
    assert caught.value.exit_code == 2


@pytest.mark.timing
def test_evidence_of_a_dead_machine(make: Make, fake_qemu: FakeQemu, tmp_path: Path) -> None:
    fake_qemu(console="hello\n", die_after_s=0.5, die_with="qemu-system-x86_64: boom\n")
    machine = make()
    machine.start()
    with pytest.raises(HarnessError):
        machine.wait_ready(Deadline.after(10))
    machine.save_evidence(tmp_path / "evidence")
    saved = {path.name: path.read_text() for path in (tmp_path / "evidence").iterdir()}
    assert saved["console.log"] == "hello\n"
    assert saved["qemu-stderr.log"] == "qemu-system-x86_64: boom\n"
    assert saved["qemu-command.txt"].startswith("qemu-system-x86_64\n-name\n")


def test_starting_twice_is_a_mistake(make: Make, fake_qemu: FakeQemu) -> None:
    fake_qemu()
    machine = make()
    machine.start()
    with pytest.raises(HarnessError, match="already on"):
        machine.start()


def test_the_fake_gets_the_real_command(make: Make, fake_qemu: FakeQemu, tmp_path: Path) -> None:
    fake_qemu()
    machine = make()
    machine.start()
    arguments = Path(f"/proc/{qemu_process(machine)}/cmdline").read_text().split("\0")
    assert "-S" in arguments
    assert json.loads((tmp_path / "scenario.json").read_text())["log"]
