"""Runs Packer: the base disk goes in, a provisioned and sealed image comes out."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

from harness.errors import HarnessError
from harness.image.content_key import file_sha256
from harness.image.external_tool import find_tool, run_tool
from harness.image.flavor import Flavor
from harness.image.packer_tools import packer_binary, plugin_folder
from harness.locations import REPOSITORY
from harness.terminal import Step

TEMPLATE = REPOSITORY / "packer" / "slm-copilot.pkr.hcl"

# "==> qemu.appliance: text" or "    qemu.appliance: text"
_UI_LINE = re.compile(r"^(?:==>|\s+) qemu\.appliance: (?P<text>.*)$")


def run_packer(
    flavor: Flavor, *, base: Path, staging_iso: Path, accelerator: str, work: Path, progress: Step
) -> Path:
    """Build the image in `work` (an existing, empty folder) and return the qcow2 file.

    `accelerator` is kvm or tcg. What Packer and the guest's console printed is in work/packer.log and
    work/serial.log. Raises HarnessError with the line that tells most; Packer itself removes the machine.
    """
    find_tool("qemu-system-x86_64", "qemu-system-x86")
    find_tool("qemu-img", "qemu-utils")
    key = _make_ssh_key(work)
    output = work / "output"
    variables = {
        "base_image": base,
        "base_sha256": file_sha256(base),
        "staging_iso": staging_iso,
        "output_directory": output,
        "accelerator": accelerator,
        "ssh_private_key_file": key,
        "ssh_public_key_base64": base64.b64encode(key.with_suffix(".pub").read_bytes()).decode(),
        "serial_log": work / "serial.log",
    }
    telling: list[str] = []

    def follow(line: str) -> None:
        match = _UI_LINE.match(line)
        text = match["text"].strip() if match else ""
        if text:
            progress.waiting_for(text[:100])
        if match and _tells(text):
            telling.append(text)

    log = work / "packer.log"
    try:
        run_tool(
            [
                *(packer_binary(), "build", "-color=false", "-timestamp-ui=false"),
                f"-var-file={flavor.packer_variables}",
                *(f"-var={name}={value}" for name, value in variables.items()),
                TEMPLATE,
            ],
            what="building the image with Packer",
            log=log,
            env={
                "PACKER_PLUGIN_PATH": str(plugin_folder()),
                "PACKER_CACHE_DIR": str(work / "packer-cache"),
                "PACKER_CONFIG_DIR": str(work),
                "TMPDIR": str(work),
                "CHECKPOINT_DISABLE": "1",
            },
            on_line=follow,
        )
    except HarnessError as error:
        if telling:
            raise HarnessError(
                f"building the image with Packer failed: {telling[-1]}", hint=error.hint
            ) from error
        raise
    image = output / f"slm-copilot-{flavor.name}.qcow2"
    if not image.is_file():
        raise HarnessError(f"Packer ended well but made no {image.name}", hint=f"the whole log: {log}")
    return image


def _tells(text: str) -> bool:
    return text.startswith(
        ("Error", "error", "ERROR", "sealing left", "the appliance's", "Timeout", "Build was")
    )


def _make_ssh_key(work: Path) -> Path:
    """A key pair for this one build; its folder is removed with it."""
    key = work / "build_key"
    ssh_keygen = find_tool("ssh-keygen", "openssh-client")
    subprocess.run(
        [ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-C", "slm-copilot-build", "-f", key],
        check=True,
        capture_output=True,
    )
    return key
