"""The block formats of quantized tensors, and random blocks with weights as large as real ones.

A tensor's elements are stored in blocks of equal size (ggml-common.h of llama.cpp): packed numbers, and one
or two 16-bit floats that scale them. Random packed numbers are fine; random scales would be infinities and
NaNs, so the scales are set.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

WEIGHT_DEVIATION = 0.02
"""Standard deviation of the weights: what transformers are initialized with, and about what trained ones
have. Every layer normalizes what it gets, so activations stay far below the largest float."""

TILE_BYTES = 1024 * 1024
"""About how many random bytes are made for one tensor; longer tensors repeat them."""


@dataclass(frozen=True)
class BlockFormat:
    """`elements` numbers stored in `size` bytes. `number` is GGUF's number of the type (ggml_type).

    `scales`: where in a block a 16-bit float stands, and what multiple of the block's scale it is; for F32
    none. `spread`: the standard deviation of the elements of a block with scale 1 and uniformly random packed
    numbers; 0 for F32, which is not packed.
    """

    number: int
    elements: int
    size: int
    scales: tuple[tuple[int, float], ...] = ()
    spread: float = 0.0


def _uniform(count: int) -> tuple[float, float]:
    """Mean and variance of the whole numbers 0 to count - 1."""
    return (count - 1) / 2, (count * count - 1) / 12


def _product_variance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The variance of the product of two independent numbers, each given as mean and variance."""
    (a, va), (b, vb) = one, other
    return va * vb + va * b * b + vb * a * a


_BITS4 = _uniform(16)
_BITS6 = _uniform(64)
_CENTRED6 = (-0.5, _BITS6[1])  # 0 to 63, less 32
_SIGNED8 = (-0.5, _uniform(256)[1])
_HALF4 = 7.5  # mean of a 4-bit number: an offset of so many scales centres the weights at 0

FORMATS: Mapping[str, BlockFormat] = {
    "F32": BlockFormat(0, 1, 4),
    # scale * number + minimum
    "Q4_1": BlockFormat(3, 32, 20, ((0, 1.0), (2, -_HALF4)), sqrt(_BITS4[1])),
    # scale * signed number
    "Q8_0": BlockFormat(8, 32, 34, ((0, 1.0),), sqrt(_SIGNED8[1])),
    # scale * 6-bit scale * number - minimum * 6-bit minimum
    "Q4_K": BlockFormat(
        12,
        256,
        144,
        ((0, 1.0), (2, _HALF4)),
        sqrt(_product_variance(_BITS6, _BITS4) + _HALF4 * _HALF4 * _BITS6[1]),
    ),
    # scale * signed 8-bit scale * (6-bit number - 32)
    "Q6_K": BlockFormat(14, 256, 210, ((208, 1.0),), sqrt(_product_variance(_SIGNED8, _CENTRED6))),
}


def tensor_bytes(form: BlockFormat, elements: int) -> int:
    """Bytes of a tensor of so many elements, a whole number of blocks."""
    blocks, rest = divmod(elements, form.elements)
    if rest:
        raise ValueError(f"{elements} elements are no whole number of blocks of {form.elements}")
    return blocks * form.size


def random_blocks(form: BlockFormat, most: int, seed: int) -> bytes:
    """Whole blocks of random weights, about TILE_BYTES of them and at most `most` bytes; the same for the
    same seed."""
    count = min(TILE_BYTES, most) // form.size
    tile = bytearray(random.Random(seed).randbytes(count * form.size))  # noqa: S311  (no secret)
    for place, multiple in form.scales:
        low, high = struct.pack("<e", multiple * WEIGHT_DEVIATION / form.spread)
        tile[place :: form.size] = bytes([low]) * count
        tile[place + 1 :: form.size] = bytes([high]) * count
    return bytes(tile)


def constant_floats(value: float, most: int) -> bytes:
    """32-bit floats of one value, about TILE_BYTES of them and at most `most` bytes."""
    return struct.pack("<f", value) * (min(TILE_BYTES, most) // 4)
