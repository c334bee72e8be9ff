"""Which template Packer gets, with what, and what is told when it fails. Packer is a stub, nothing boots."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_packer_templates import PASSED

from harness.errors import HarnessError
from harness.image import packer
from harness.image.build_guest import BuildSettings
from harness.image.flavor import load_flavor
from harness.image.packer import TEMPLATE, TEMPLATE_BOOTED, make_build_key, run_packer
from harness.machine.console import Console
from harness.terminal import Step

# Says what it was called with and makes what Packer's plugin would make.
STUB = """#!/bin/sh
printf '%s\\n' "$@" >"$CALLS"
env >"$CALLS.env"
for argument in "$@"; do
  case "$argument" in
    -var=output_directory=*)
      [ -n "${FAKE_MAKES_NOTHING:-}" ] || {
        mkdir "${argument#-var=output_directory=}"
        echo image >"${argument#-var=output_directory=}/slm-copilot-ci.qcow2"
      } ;;
  esac
done
[ -z "${FAKE_LOG:-}" ] || cat "$FAKE_LOG"
exit "${FAKE_STATUS:-0}"
"""


@dataclass
class Host:
    """Where the build works and what its edges were asked for."""

    work: Path
    base: Path
    calls: Path
    console: Path
    plugins: Path | None = None
    guests: list[dict[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def build(self) -> Path:
        return run_packer(
            load_flavor("ci"),
            base=self.base,
            staging_iso=self.work.parent / "staging.iso",
            key=make_build_key(self.work),
            accelerator="tcg",
            work=self.work,
            progress=Step("Packer", 0),
        )

    @property
    def arguments(self) -> list[str]:
        return self.calls.read_text().splitlines()

    @property
    def variables(self) -> dict[str, str]:
        given = [one.removeprefix("-var=") for one in self.arguments if one.startswith("-var=")]
        pairs = [one.split("=", 1) for one in given]
        assert len({name for name, _ in pairs}) == len(pairs)
        return {one[0]: one[1] for one in pairs}

    @property
    def environment(self) -> dict[str, str]:
        lines = self.calls.with_suffix(".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without Packer's plugin whose guest is made of nothing."""
    stub = tmp_path / "packer"
    stub.write_text(STUB)
    stub.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    host = Host(work, tmp_path / "base.qcow2", tmp_path / "calls", tmp_path / "console.log")
    host.base.write_bytes(b"base disk")

    def plugin_folder(_during: Step) -> Path:
        if host.plugins is None:
            raise HarnessError("no plugin here", hint="none")
        return host.plugins

    @contextmanager
    def build_guest(settings: BuildSettings, **options: Any) -> Iterator[Any]:
        host.guests.append({"settings": settings, **options})
        host.events.append("booted")
        try:
            yield SimpleNamespace(
                forward=lambda port: SimpleNamespace(port=40000 + port), console=Console(host.console)
            )
        finally:
            host.events.append("closed")

    def save_disk(_guest: Any, target: Path, *_: Any) -> None:
        host.events.append("saved")
        target.write_bytes(b"image")

    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(host.calls))
    monkeypatch.setattr(packer, "packer_binary", lambda: stub)
    monkeypatch.setattr(packer, "plugin_folder", plugin_folder)
    monkeypatch.setattr(packer, "build_guest", build_guest)
    monkeypatch.setattr(packer, "save_disk", save_disk)
    # Nothing here starts a guest: hosts without QEMU run these tests too.
    monkeypatch.setattr(packer, "find_tool", lambda name, _: Path(name))
    return host


@pytest.fixture
def with_plugin(host: Host, tmp_path: Path) -> Host:
    host.plugins = tmp_path / "plugins"
    return host


Fails = Callable[[str], None]


@pytest.fixture
def fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fails:
    def fail(log: str) -> None:
        (tmp_path / "log").write_text(log)
        monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
        monkeypatch.setenv("FAKE_STATUS", "1")

    return fail


def public_key(host: Host) -> str:
    key = host.work / "build_key"
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", key], capture_output=True, text=True, check=True
    )
    return derived.stdout.split()[1]


def test_with_the_plugin_packer_boots_the_base_disk(with_plugin: Host) -> None:
    host = with_plugin
    image = host.build()
    assert image == host.work / "output" / "slm-copilot-ci.qcow2"
    assert image.is_file()
    assert host.arguments[0] == "build"
    assert host.arguments[-1] == str(TEMPLATE)
    assert f"-var-file={load_flavor('ci').packer_variables}" in host.arguments
    assert host.events == []
    assert host.environment["PACKER_PLUGIN_PATH"] == str(host.plugins)


def test_with_the_plugin_all_variables_of_the_template_are_passed(with_plugin: Host) -> None:
    host = with_plugin
    host.build()
    variables = host.variables
    assert set(variables) == PASSED[TEMPLATE]
    assert variables["base_image"] == str(host.base)
    assert variables["base_sha256"] == hashlib.sha256(b"base disk").hexdigest()
    assert variables["staging_iso"] == str(host.work.parent / "staging.iso")
    assert variables["accelerator"] == "tcg"
    assert variables["serial_log"] == str(host.work / "serial.log")
    assert variables["package_list"] == str(host.work / "packages.txt")
    assert public_key(host) in base64.b64decode(variables["ssh_public_key_base64"]).decode()
    assert variables["ssh_private_key_file"] == str(host.work / "build_key")


def test_without_the_plugin_the_harness_boots_the_base_disk(host: Host) -> None:
    image = host.build()
    assert image.read_bytes() == b"image"
    assert host.arguments[-1] == str(TEMPLATE_BOOTED)
    assert not [one for one in host.arguments if one.startswith("-var-file")]
    assert set(host.variables) == PASSED[TEMPLATE_BOOTED]
    assert host.variables["ssh_port"] == "40022"
    assert host.variables["package_list"] == str(host.work / "packages.txt")
    assert host.variables["ssh_private_key_file"] == str(host.work / "build_key")
    assert host.events == ["booted", "saved", "closed"]


def test_the_guest_is_booted_as_the_flavor_says(host: Host) -> None:
    host.build()
    settings = json.loads(load_flavor("ci").packer_variables.read_text())
    (guest,) = host.guests
    assert guest["settings"].build_cpus == settings["build_cpus"]
    assert guest["settings"].build_memory_mib == settings["build_memory_mib"]
    assert host.variables["ssh_timeout"] == settings["ssh_timeout"]
    assert (guest["base"], guest["accelerator"]) == (host.base, "tcg")
    assert guest["staging_iso"] == host.work.parent / "staging.iso"
    assert public_key(host) in base64.b64decode(guest["public_key_base64"]).decode()


def test_without_the_plugin_packer_finds_no_other_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKER_PLUGIN_PATH", "/somewhere")
    host.build()
    assert not Path(host.environment["PACKER_PLUGIN_PATH"]).exists()
    assert host.environment["CHECKPOINT_DISABLE"] == "1"


def test_the_guest_of_a_failed_build_is_closed_and_not_saved(host: Host, fails: Fails) -> None:
    fails("==> null.appliance: Error waiting for SSH: timeout\n")
    with pytest.raises(HarnessError, match="Error waiting for SSH"):
        host.build()
    assert host.events == ["booted", "closed"]
    assert not (host.work / "output" / "slm-copilot-ci.qcow2").exists()


NOISE = "    qemu.appliance: provision: 50-install.sh\n"
AFTER = (
    "==> qemu.appliance: Deleting output directory...\n"
    "Build 'qemu.appliance' errored after 3 minutes.\n"
    "==> Builds finished but no artifacts were created.\n"
)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("    qemu.appliance: sealing left behind: /root/.ssh", "sealing left behind: /root/.ssh"),
        ("==> qemu.appliance: sealing left behind: /etc/machine-id", "sealing left behind: /etc/machine-id"),
        ("==> qemu.appliance: Timeout waiting for SSH.", "Timeout waiting for SSH."),
        ("==> qemu.appliance: Error launching VM: no KVM", "Error launching VM: no KVM"),
        ("==> null.appliance: Error waiting for SSH: refused", "Error waiting for SSH: refused"),
        ("==> qemu.appliance: Build was cancelled.", "Build was cancelled."),
    ],
)
def test_the_telling_line_is_in_the_error(with_plugin: Host, fails: Fails, line: str, told: str) -> None:
    fails(NOISE + line + "\n" + NOISE * 30 + AFTER)
    with pytest.raises(HarnessError) as caught:
        with_plugin.build()
    assert caught.value.message == f"building the image with Packer failed: {told}"
    log = with_plugin.work / "packer.log"
    assert str(log) in caught.value.hint
    assert line in log.read_text()


def test_the_last_of_several_telling_lines_is_told(with_plugin: Host, fails: Fails) -> None:
    fails("==> qemu.appliance: Error one\n==> qemu.appliance: Error two\n" + AFTER)
    with pytest.raises(HarnessError, match=r"failed: Error two$"):
        with_plugin.build()


def test_without_a_telling_line_the_end_of_the_log_is_told(with_plugin: Host, fails: Fails) -> None:
    fails("Error: Unsupported argument\n\n  on slm-copilot.pkr.hcl line 7:\n")
    with pytest.raises(HarnessError, match=r"exited with 1.*: Error: Unsupported argument"):
        with_plugin.build()


def test_telling_lines_of_a_build_that_went_well_are_no_error(
    with_plugin: Host, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails("==> qemu.appliance: Error that somebody dealt with\n")
    monkeypatch.setenv("FAKE_STATUS", "0")
    assert with_plugin.build().is_file()


def test_a_packer_that_made_nothing_is_noticed(with_plugin: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MAKES_NOTHING", "1")
    with pytest.raises(HarnessError, match=r"made no slm-copilot-ci\.qcow2"):
        with_plugin.build()


STUCK = "Begin: Waiting for root file system ... done.\n(initramfs) "


@pytest.mark.parametrize("has_plugin", [False, True])
def test_a_guest_that_does_not_boot_is_not_waited_for(host: Host, tmp_path: Path, has_plugin: bool) -> None:
    """Packer itself would wait for SSH until ssh_timeout."""
    if has_plugin:
        host.plugins = tmp_path / "plugins"
    console = host.work / "serial.log" if has_plugin else host.console
    stub = tmp_path / "packer"
    stub.write_text(f"#!/bin/sh\nprintf '%s' '{STUCK}' >{console}\nexec sleep 60\n")
    started = time.monotonic()
    with pytest.raises(HarnessError, match="initramfs did not find its root disk") as caught:
        host.build()
    assert time.monotonic() - started < 10
    assert caught.value.message.startswith("building the image failed: ")
    assert host.events == ([] if has_plugin else ["booted", "closed"])


def test_a_plugin_that_cannot_be_had_is_one_calm_line(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.build()
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "plugin" in line]
    assert lines == ["the harness boots the base disk for Packer: no plugin here"]
