"""The machine on which a check that doesn't care about the kind of machine is quickest."""

from harness.errors import HarnessError
from harness.machine.accelerator import choose_accelerator
from harness.machine.nspawn import require_root_and_tools


def quick_machine(machine: str, accelerator: str) -> str:
    """`machine`, but "nspawn" for a "qemu" that would emulate the CPU, where a container can be run."""
    if machine != "qemu" or choose_accelerator(accelerator).name != "tcg":
        return machine
    try:
        require_root_and_tools()
    except HarnessError:
        return machine
    return "nspawn"
