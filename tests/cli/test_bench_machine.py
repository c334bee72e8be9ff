"""Where `slm bench` measures."""

from __future__ import annotations

import pytest

from harness.cli import test_image
from harness.cli.test_image import ChosenAccelerator, TestImageRequest, quick_machine
from harness.matrix.quick_machine import QuickMachine

TCG = ChosenAccelerator("tcg", "no KVM here")


@pytest.mark.parametrize(
    ("target", "machine", "accelerator", "expected"),
    [
        ("bench", "qemu", "tcg", "qemu"),
        ("bench", "qemu", "auto", "nspawn"),
        ("bench", "nspawn", "tcg", "nspawn"),
        ("test-image", "qemu", "tcg", "nspawn"),
    ],
)
def test_only_emulation_asked_for_by_name_is_measured(
    target: str, machine: str, accelerator: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_image, "choose_quick", lambda *_: QuickMachine("nspawn", "slow here"))
    request = TestImageRequest(machine=machine, accelerator=accelerator, target=target)
    assert quick_machine(request, TCG).name == expected
