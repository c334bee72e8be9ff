"""What people call the machine of a cell."""

from __future__ import annotations

from harness.results.model import Cell, Results

CONTAINER = "container, not VM"
VM = "virtual machine"

SHORT = {"nspawn": "container"}
"""For tables of a terminal's width."""

_LABELS = {"nspawn": CONTAINER, "endpoint": "an appliance that runs already"}


def label_of(machine: str, accelerator: str) -> str:
    """`qemu, tcg`, or what there is no accelerator to name of: `container, not VM`."""
    return _LABELS.get(machine) or f"{machine}, {accelerator}".removesuffix(", ")


def machine_label(cell: Cell) -> str:
    """The machine of a cell."""
    return label_of(cell.machine, cell.accelerator)


def machines_of(results: Results) -> str:
    """The machines that a run's cells ran in, each once; the one asked for where there are no cells."""
    host = results.host
    labels = dict.fromkeys(machine_label(cell) for cell in results.cells)
    return "; ".join(labels) or label_of(host.machine, host.accelerator)
