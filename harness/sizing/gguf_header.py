"""The header of a GGUF file (version 3, ggml's docs/gguf.md): key-value pairs, then where tensors lie."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from harness.sizing.quant_blocks import FORMATS
from harness.sizing.shapes import ModelShape, Tensor

ALIGNMENT = 32
"""Tensors begin at multiples of so many bytes: GGUF's default."""

FILLER_KEY = "tokenizer.filler"
"""Zeros that are as long as the words of the real model's vocabulary."""

_VERSION = 3
_QUANTIZATION_VERSION = 2
_NORM_EPSILON = 1e-5
_UINT8, _UINT32, _FLOAT32, _STRING, _ARRAY = 0, 4, 6, 8, 9

Value = str | int | float | bytes


def header_of(shape: ModelShape, tensors: Sequence[Tensor]) -> bytes:
    """Everything before the first tensor's bytes; so long that the file has the published one's size."""
    bare = _header(shape, tensors, 0)
    filler = shape.published - sum(aligned(tensor.size) for tensor in tensors) - len(bare)
    return _header(shape, tensors, filler) if filler > 0 else bare


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def file_bytes(shape: ModelShape) -> int:
    """Bytes of the whole synthetic file."""
    tensors = shape.tensors()
    return len(header_of(shape, tensors)) + sum(aligned(tensor.size) for tensor in tensors)


def _header(shape: ModelShape, tensors: Sequence[Tensor], filler: int) -> bytes:
    pairs = _pairs(shape, bytes(filler))
    parts = [b"GGUF", struct.pack("<IQQ", _VERSION, len(tensors), len(pairs))]
    parts += [_text(key) + _typed(value) for key, value in pairs.items()]
    offset = 0
    for tensor in tensors:
        parts.append(_text(tensor.name))
        parts.append(struct.pack(f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions))
        parts.append(struct.pack("<IQ", FORMATS[tensor.kind].number, offset))
        offset += aligned(tensor.size)
    header = b"".join(parts)
    return header.ljust(aligned(len(header)), b"\0")


def _pairs(shape: ModelShape, filler: bytes) -> Mapping[str, Value]:
    own: Mapping[str, Value] = {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.hidden,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_size,
        "attention.value_length": shape.head_size,
        "attention.layer_norm_rms_epsilon": _NORM_EPSILON,
        "rope.dimension_count": shape.head_size,
        "rope.freq_base": shape.rope_base,
        "vocab_size": shape.vocabulary,
    }
    return {
        "general.architecture": shape.architecture,
        "general.name": f"{shape.name}, random weights",
        "general.file_type": shape.mixture.file_type,
        "general.quantization_version": _QUANTIZATION_VERSION,
        **{f"{shape.architecture}.{key}": value for key, value in own.items()},
        # Tokens are numbers only: llama-bench needs no words, llama-server would.
        "tokenizer.ggml.model": "none",
        FILLER_KEY: filler,
    }


def _text(word: str) -> bytes:
    encoded = word.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed(value: Value) -> bytes:
    match value:
        case str():
            return struct.pack("<I", _STRING) + _text(value)
        case int():
            return struct.pack("<II", _UINT32, value)
        case float():
            return struct.pack("<If", _FLOAT32, value)
        case bytes():
            return struct.pack("<IIQ", _ARRAY, _UINT8, len(value)) + value
