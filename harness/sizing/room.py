"""Is there room for the run: the file on the disk, the model in memory? Asked before a byte is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import GIB, free_bytes
from harness.sizing.appliance_rules import Reserves
from harness.sizing.gguf_header import file_bytes
from harness.sizing.memory import KvType, token_bytes
from harness.sizing.shapes import ModelShape

DISK_MARGIN = GIB
"""Bytes of disk that stay free: what else runs here writes too."""

MEMORY_MARGIN_KIB = 512 * 1024
"""KiB of memory that stay free, for the same reason."""


@dataclass(frozen=True)
class Need:
    """What is needed of one resource and what there is, in bytes; `terms` say what the need is made of."""

    resource: str
    terms: tuple[tuple[str, int], ...]
    there: int

    @property
    def total(self) -> int:
        """All terms together."""
        return sum(size for _, size in self.terms)

    @property
    def arithmetic(self) -> str:
        """The sum as people read it."""
        sum_of = " + ".join(f"{in_gib(size)} for {what}" for what, size in self.terms)
        return f"{sum_of} = {in_gib(self.total)} of {self.resource}, {in_gib(self.there)} are free"


def disk_need(shape: ModelShape, folder: Path) -> Need:
    """What the file needs of the disk that `folder` is on."""
    terms = ((f"the file of {shape.key}", file_bytes(shape)), ("a margin", DISK_MARGIN))
    return Need("disk", terms, free_bytes(folder))


def memory_need(shape: ModelShape, reserves: Reserves, *, tokens: int, kv: KvType, free_kib: int) -> Need:
    """What the engine needs of the memory to hold the model with a context of so many tokens."""
    context = tokens * (token_bytes(shape, kv) + reserves.mask_bytes)
    terms = (
        ("the weights", shape.weight_bytes),
        (f"{tokens} tokens of context", context),
        ("the engine", reserves.engine_kib * 1024),
        ("a margin", MEMORY_MARGIN_KIB * 1024),
    )
    return Need("memory", terms, free_kib * 1024)


def refuse_without_room(needs: tuple[Need, ...], others: str) -> None:
    """Raise HarnessError with the arithmetic of every resource there is too little of. `others` is what to do
    instead."""
    short = [need for need in needs if need.total > need.there]
    if short:
        raise HarnessError(
            "; ".join(
                f"too little {need.resource}: {need.arithmetic}, {in_gib(need.total - need.there)} short"
                for need in short
            ),
            hint=others,
        )


def in_gib(size: int) -> str:
    """Bytes as people read them: `13.34 GiB`, `98 MiB`."""
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / 1048576:.0f} MiB"
