"""How much context fits beside a model into how much memory: the arithmetic of appliance/lib/capacity.sh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.memory_for_programs import programs_kib
from harness.profiles import Profile
from harness.sizing.appliance_rules import Reserves
from harness.sizing.gguf_header import file_bytes
from harness.sizing.shapes import ModelShape

KvType = Literal["f16", "q8_0"]

KV_TYPES: dict[KvType, tuple[int, int]] = {"f16": (2, 1), "q8_0": (34, 32)}
"""Bytes of so many elements of keys and values."""

CONTEXT_STEP = 256
"""capacity.sh offers contexts in such steps of tokens."""


def token_bytes(shape: ModelShape, kv: KvType) -> int:
    """Bytes of keys and values that one token of context takes: in all layers."""
    size, elements = KV_TYPES[kv]
    return shape.kv_elements() * size // elements


def model_kib(shape: ModelShape) -> int:
    """KiB of the model's file, rounded up."""
    return -(-file_bytes(shape) // 1024)


def fixed_kib(shape: ModelShape, reserves: Reserves) -> int:
    """KiB needed whatever the context."""
    return model_kib(shape) + reserves.engine_kib + reserves.cache_kib + reserves.system_kib


def fits(shape: ModelShape, kv: KvType, tokens: int, machine_kib: int, reserves: Reserves) -> bool:
    """Whether the appliance would accept that context on a machine with so much memory."""
    context = tokens * (token_bytes(shape, kv) + reserves.mask_bytes) // 1024
    return fixed_kib(shape, reserves) + context + machine_kib // reserves.slack <= machine_kib


def largest_context(shape: ModelShape, kv: KvType, machine_kib: int, reserves: Reserves) -> int:
    """Tokens of context the appliance would accept at most, in steps of CONTEXT_STEP and not more than the
    model was trained for; 0 or less when the model itself doesn't fit."""
    left = machine_kib - machine_kib // reserves.slack - fixed_kib(shape, reserves)
    step = (token_bytes(shape, kv) + reserves.mask_bytes) * CONTEXT_STEP
    return min(left * 1024 // step * CONTEXT_STEP, shape.context)


@dataclass(frozen=True)
class Carried:
    """What one profile does with a model: the largest context for each type of keys and values (0: the model
    doesn't fit), and why this host can't run a VM of this size ("" when it can)."""

    profile: Profile
    contexts: dict[KvType, int]
    lacking: str

    @property
    def runs_here(self) -> bool:
        """Whether this host has the cores and the memory of the profile, and the model fits into that."""
        return not self.lacking and self.contexts["f16"] > 0


def carried(
    shape: ModelShape, profile: Profile, reserves: Reserves, *, smallest: int, cores: int, memory_kib: int
) -> Carried:
    """Judge one profile on a host with so many cores and so much memory. A context below `smallest` tokens is
    none."""
    contexts: dict[KvType, int] = {}
    for kv in KV_TYPES:
        most = largest_context(shape, kv, programs_kib(profile.ram_mib), reserves)
        contexts[kv] = most if most >= smallest else 0
    lacks = []
    if cores < profile.vcpus:
        lacks.append(f"{cores} of {profile.vcpus} cores")
    # A host's kernel keeps some of the memory that its modules have, as a guest's does.
    if memory_kib < programs_kib(profile.ram_mib):
        lacks.append(f"{memory_kib / 1048576:.1f} of {profile.ram_mib / 1024:g} GiB")
    return Carried(profile, contexts, f"this host has {' and '.join(lacks)}" if lacks else "")
