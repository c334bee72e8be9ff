"""The machine for what needn't be a virtual machine: a container where a virtual one would be slow."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import HarnessError


@dataclass(frozen=True)
class QuickMachine:
    """A machine's name, and one sentence why it is that one ("" where there was nothing to choose)."""

    name: str
    reason: str = ""


def choose_quick(
    asked: str, accelerator: str, *, containers_refused: Callable[[], str] | None = None
) -> QuickMachine:
    """nspawn where the machine asked for would run under TCG and containers work here, else the one asked
    for."""
    if asked != "qemu":
        return QuickMachine(asked)
    if accelerator != "tcg":
        return QuickMachine("qemu")
    if refusal := (containers_refused or why_no_containers)():
        return QuickMachine("qemu", f"every suite runs under QEMU, slowly: {refusal}")
    return QuickMachine("nspawn", "suites that need no virtual machine run in a container: QEMU is slow here")


def why_no_containers() -> str:
    """Why the nspawn machine can't work here, "" when it can."""
    from harness.machine.nspawn import require_root_and_tools

    try:
        require_root_and_tools()
    except HarnessError as error:
        return error.message
    # Root in a container may lack the right to make namespaces and loop devices.
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "losetup", "--find"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"namespaces or loop devices can't be had here: {error}"
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return f"namespaces or loop devices can't be had here: {said[-1] if said else done.returncode}"
    return ""
