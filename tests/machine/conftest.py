"""A cache folder of their own for these tests, a disk to boot from, and a QEMU that only pretends."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.profiles import Profile

FAKE = Path(__file__).with_name("fake_qemu.py")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G"], check=True)
    return path


@pytest.fixture
def profile() -> Profile:
    return Profile("tiny", vcpus=1, ram_mib=64, disk_gib=2)


FakeQemu = Callable[..., Callable[[], list[dict[str, Any]]]]


@pytest.fixture
def fake_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeQemu:
    """Puts the fake in front of the PATH; called with a scenario, returns what reads the commands it got."""

    def play(**scenario: Any) -> Callable[[], list[dict[str, Any]]]:
        log = tmp_path / "qmp.log"
        (tmp_path / "scenario.json").write_text(json.dumps({"log": str(log), **scenario}))
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "qemu-system-x86_64"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{FAKE}" "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        monkeypatch.setenv("FAKE_QEMU", str(tmp_path / "scenario.json"))
        return lambda: [json.loads(line) for line in log.read_text().splitlines()]

    return play
