"""Writes small GGUF files, for tests of what reads them."""

import math
import struct
from collections.abc import Mapping, Sequence

from harness.bench.gguf_header import block_type, block_types

Entry = int | float | str | Sequence[int] | Sequence[str]

DENSE: Mapping[str, Entry] = {
    "general.architecture": "llama",
    "general.name": "Small",
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
"""A model with two layers, 4 heads of 16 values, 2 of them for keys and values."""

TENSORS = [
    ("token_embd.weight", (64, 100), "Q8_0"),
    *(
        entry
        for layer in range(2)
        for entry in (
            (f"blk.{layer}.attn_norm.weight", (64,), "F32"),
            (f"blk.{layer}.ffn_up.weight", (64, 256), "Q4_0"),
        )
    ),
    ("output_norm.weight", (64,), "F32"),
]


def gguf_bytes(
    metadata: Mapping[str, Entry] = DENSE,
    tensors: Sequence[tuple[str, Sequence[int], str]] = tuple(TENSORS),
    *,
    version: int = 3,
) -> bytes:
    """A whole file; the tensors are zeros."""
    numbers = {kind.name: number for number, kind in block_types().items()}
    infos, offset = b"", 0
    for name, shape, kind in tensors:
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos += _text(name) + dimensions + struct.pack("<IQ", numbers[kind], offset)
        block = block_type(kind)
        offset += -(-math.prod(shape) // block.values * block.bytes // 32) * 32
    pairs = b"".join(_text(key) + _value(value) for key, value in metadata.items())
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(metadata)) + pairs + infos
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + bytes(offset)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Entry) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    kind = 8 if isinstance(value[0], str) else 4
    items = b"".join(_text(item) if isinstance(item, str) else struct.pack("<I", item) for item in value)
    return struct.pack("<IIQ", 9, kind, len(value)) + items
