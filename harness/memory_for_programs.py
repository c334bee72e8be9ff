"""How much of a machine's memory its programs have."""

from __future__ import annotations

_LEFT = (100, 104)
"""A kernel keeps up to 4 % of the memory modules' size for itself: its code, its descriptions of pages, what
the firmware has reserved. A host of 24 GiB shows 23.4 (MemTotal of /proc/meminfo). appliance/lib/capacity.sh
reckons with the same 4 % when it says how large a VM must be."""


def programs_kib(ram_mib: int) -> int:
    """KiB that the programs of a machine with so many MiB of memory have at least, the kernel's share taken
    off: what /proc/meminfo calls MemTotal."""
    left, of = _LEFT
    return ram_mib * 1024 * left // of


def programs_mib(ram_mib: int) -> int:
    """The same in whole MiB."""
    return programs_kib(ram_mib) // 1024
