"""Runs Packer: the base disk goes in, a provisioned and sealed image comes out."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

from harness.errors import ApplianceError, HarnessError
from harness.image.build_guest import build_guest, load_settings, save_disk
from harness.image.content_key import file_sha256
from harness.image.external_tool import find_tool, run_tool
from harness.image.flavor import Flavor
from harness.image.packer_tools import packer_binary, plugin_folder
from harness.locations import REPOSITORY
from harness.machine.console import Console
from harness.terminal import Step

PACKER_FOLDER = REPOSITORY / "packer"
TEMPLATE = PACKER_FOLDER / "slm-copilot.pkr.hcl"
TEMPLATE_BOOTED = PACKER_FOLDER / "slm-copilot-booted.pkr.hcl"
"""For a guest that the harness boots: what is used where Packer's QEMU plugin can't be had."""
PROVISION_SCRIPT = PACKER_FOLDER / "provision.sh"
PACKAGE_LIST = "packages.txt"
"""The guest's packages when it was sealed, "NAME VERSION" a line."""

# "==> qemu.appliance: text" or "    null.appliance: text"
_UI_LINE = re.compile(r"^(?:==>|\s+) (?:qemu|null)\.appliance: (?P<text>.*)$")


def run_packer(
    flavor: Flavor,
    *,
    base: Path,
    staging_iso: Path,
    key: Path,
    accelerator: str,
    work: Path,
    progress: Step,
) -> Path:
    """Build the image in `work` and return the qcow2 file. work/packages.txt lists what is installed in it.

    `key` is the private key that make_build_key has made; its public half lies beside it.

    `accelerator` is kvm or tcg. Packer boots the base disk with its QEMU plugin; where that plugin can't be
    had, the harness boots it and Packer does the rest. What Packer and the guest's console printed is in
    work/packer.log and work/serial.log. Raises HarnessError with the line that tells most.
    """
    find_tool("qemu-system-x86_64", "qemu-system-x86")
    find_tool("qemu-img", "qemu-utils")
    public_key = base64.b64encode(key.with_suffix(".pub").read_bytes()).decode()
    image = work / "output" / f"slm-copilot-{flavor.name}.qcow2"
    try:
        plugins = plugin_folder(progress)
    except HarnessError as missing:
        progress.note(f"the harness boots the base disk for Packer: {missing.message}")
        image.parent.mkdir()
        settings = load_settings(flavor)
        with build_guest(
            settings,
            base=base,
            staging_iso=staging_iso,
            accelerator=accelerator,
            public_key_base64=public_key,
            work=work,
        ) as guest:
            variables = {
                "ssh_port": str(guest.forward(22).port),
                "ssh_private_key_file": str(key),
                "ssh_timeout": settings.ssh_timeout,
                "package_list": str(work / PACKAGE_LIST),
            }
            _packer_build(TEMPLATE_BOOTED, [], variables, work, progress, console=guest.console)
            progress.waiting_for("the guest to shut down")
            save_disk(guest, image, settings, work / "packer.log")
    else:
        variables = {
            "base_image": str(base),
            "base_sha256": file_sha256(base),
            "staging_iso": str(staging_iso),
            "output_directory": str(image.parent),
            "accelerator": accelerator,
            "ssh_private_key_file": str(key),
            "ssh_public_key_base64": public_key,
            "serial_log": str(work / "serial.log"),
            "package_list": str(work / PACKAGE_LIST),
        }
        options = [f"-var-file={flavor.packer_variables}"]
        console = Console(work / "serial.log")
        _packer_build(TEMPLATE, options, variables, work, progress, console=console, plugins=plugins)
    if not image.is_file():
        raise HarnessError(
            f"Packer ended well but made no {image.name}", hint=f"the whole log: {work / 'packer.log'}"
        )
    return image


def _packer_build(
    template: Path,
    options: list[str],
    variables: dict[str, str],
    work: Path,
    progress: Step,
    *,
    console: Console,
    plugins: Path | None = None,
) -> None:
    """`console` is that of the guest: what it prints when it can't boot ends Packer's wait at once."""
    telling: list[str] = []

    def follow(line: str) -> None:
        match = _UI_LINE.match(line)
        text = match["text"].strip() if match else ""
        if text:
            progress.waiting_for(text[:100])
        if match and _tells(text):
            telling.append(text)

    try:
        run_tool(
            [
                *(packer_binary(), "build", "-color=false", "-timestamp-ui=false"),
                *options,
                *(f"-var={name}={value}" for name, value in variables.items()),
                template,
            ],
            what="building the image with Packer",
            log=work / "packer.log",
            env={
                "PACKER_PLUGIN_PATH": str(plugins or work / "no-plugins"),
                "PACKER_CACHE_DIR": str(work / "packer-cache"),
                "PACKER_CONFIG_DIR": str(work),
                "TMPDIR": str(work),
                "CHECKPOINT_DISABLE": "1",
            },
            on_line=follow,
            watch=lambda: _require_boot(console),
        )
    except _GuestStuck:
        raise
    except HarnessError as error:
        if telling:
            raise HarnessError(
                f"building the image with Packer failed: {telling[-1]}", hint=error.hint
            ) from error
        raise


class _GuestStuck(HarnessError):
    """The guest that is being provisioned can't get up."""


def _require_boot(console: Console) -> None:
    try:
        console.raise_if_fatal()
    except ApplianceError as error:
        raise _GuestStuck(f"building the image failed: {error.message}", hint=error.hint) from error


def _tells(text: str) -> bool:
    return text.startswith(
        ("Error", "error", "ERROR", "sealing left", "the appliance's", "Timeout", "Build was")
    )


def make_build_key(work: Path) -> Path:
    """A key pair for this one build, in its folder, which is removed with it. Returns the private key."""
    key = work / "build_key"
    ssh_keygen = find_tool("ssh-keygen", "openssh-client")
    subprocess.run(
        [ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-C", "slm-copilot-build", "-f", key],
        check=True,
        capture_output=True,
    )
    return key
