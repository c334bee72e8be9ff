"""KVM only where a guest really ran under it; otherwise one sentence why not."""

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine import accelerator
from harness.machine.accelerator import ProbeOutcome, choose_accelerator, judge_probe, remembered_probe
from harness.machine.probe_guest import EXIT_STATUS, boot_sector

WORKS = ProbeOutcome(True, "a probe guest ran under KVM")
BROKEN = ProbeOutcome(False, "a probe guest hung for 8 s without finishing")


def test_auto_takes_kvm_where_it_works() -> None:
    chosen = choose_accelerator("auto", probe=lambda: WORKS)
    assert (chosen.name, chosen.stretch) == ("kvm", 1.0)


def test_auto_falls_back_with_one_sentence() -> None:
    chosen = choose_accelerator("auto", probe=lambda: BROKEN)
    assert (chosen.name, chosen.stretch) == ("tcg", 4.0)
    assert chosen.reason == "KVM cannot be used, so TCG: a probe guest hung for 8 s without finishing"


def test_kvm_demanded_and_unusable_is_exit_2_with_a_hint() -> None:
    with pytest.raises(HarnessError, match="asked for and cannot be used: a probe guest hung") as caught:
        choose_accelerator("kvm", probe=lambda: BROKEN)
    assert caught.value.exit_code == 2
    assert "tcg" in caught.value.hint


def test_tcg_asked_for_is_not_probed() -> None:
    def never() -> ProbeOutcome:
        raise AssertionError("probed")

    assert choose_accelerator("tcg", probe=never).name == "tcg"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(HarnessError, match="unknown accelerator 'hvf'") as caught:
        choose_accelerator("hvf")
    assert caught.value.hint == "accepted are auto, kvm, tcg"


@pytest.mark.parametrize(
    ("status", "stderr", "reason"),
    [
        (None, "", "a probe guest hung for 8 s without finishing"),
        (
            -6,
            "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\n"
            "qemu-system-x86_64: ../target/i386/kvm/kvm.c:3213: Assertion `ret == n' failed.\n",
            "QEMU was killed by signal 6 on a probe guest: error: failed to set MSR 0x10a to 0x69",
        ),
        (
            1,
            "Could not access KVM kernel module: Device or resource busy\n",
            "QEMU exited with status 1 on a probe guest: Device or resource busy",
        ),
        (0, "", "QEMU exited with status 0 on a probe guest: it said nothing"),
        (85 + 2, "", "QEMU exited with status 87 on a probe guest: it said nothing"),
    ],
)
def test_every_other_end_means_unusable(status: int | None, stderr: str, reason: str) -> None:
    assert judge_probe(status, stderr, 8) == ProbeOutcome(False, reason)


def test_only_the_proof_means_usable() -> None:
    assert judge_probe(EXIT_STATUS, "some warning\n", 8).usable


def test_the_boot_sector_is_one() -> None:
    sector = boot_sector()
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"


@pytest.fixture
def kvm_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accelerator, "KVM_DEVICE", device)
    monkeypatch.setattr(accelerator, "_qemu_version", lambda: "7.2")
    return device


@pytest.mark.usefixtures("kvm_device")
def test_the_answer_is_remembered_for_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [BROKEN, WORKS]
    monkeypatch.setattr(accelerator, "probe_kvm", lambda: outcomes.pop(0))
    assert [remembered_probe(), remembered_probe()] == [BROKEN, BROKEN]
    monkeypatch.setattr(accelerator, "_qemu_version", lambda: "10.0")
    assert remembered_probe() == WORKS


@pytest.mark.usefixtures("kvm_device")
def test_a_memory_that_cannot_be_read_is_asked_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "probe_kvm", lambda: WORKS)
    remembered_probe()
    (memory,) = (cache / "probes").iterdir()
    memory.write_text("{")
    assert remembered_probe() == WORKS
    assert json.loads(memory.read_text())["usable"] is True


def test_no_device_is_told_and_not_remembered(kvm_device: Path, cache: Path) -> None:
    kvm_device.unlink()
    outcome = remembered_probe()
    assert outcome == ProbeOutcome(False, f"there is no {kvm_device} on this host")
    assert not list(cache.glob("probes/*"))
