"""GGUF files with a header of any shape and no weights."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | float | bool | Sequence[int] | Sequence[str]

SMALL_MODEL: Mapping[str, Value] = {
    "general.architecture": "llama",
    "general.name": "Small",
    "llama.block_count": 30,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "bc", "llama.attention.key_length"],
    "tokenizer.ggml.token_type": [1, 1, 3],
}
"""The shape of SmolLM2-135M: 23,040 bytes a token."""

CODING_MODEL: Mapping[str, Value] = {
    "general.architecture": "mistral3",
    "mistral3.block_count": 40,
    "mistral3.context_length": 393216,
    "mistral3.embedding_length": 5120,
    "mistral3.attention.head_count": 32,
    "mistral3.attention.head_count_kv": 8,
    "mistral3.attention.key_length": 128,
    "mistral3.attention.value_length": 128,
    "tokenizer.ggml.tokens": ["a", "b"],
}
"""The shape of Devstral Small 2 24B: 160 KiB a token."""

CODING_MODEL_BYTES = 14_334_446_752


def write_gguf(path: Path, header: Mapping[str, Value], *, size: int = 0, version: int = 3) -> Path:
    """A GGUF file with these metadata, filled up with a hole to `size` bytes."""
    content = b"GGUF" + struct.pack("<IQQ", version, 0, len(header))
    content += b"".join(_text(key) + _typed(value) for key, value in header.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.truncate(max(size, len(content)))
    return path


def _text(word: str) -> bytes:
    encoded = word.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed(value: Value) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
    if value and isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(str(word)) for word in value)
    return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
