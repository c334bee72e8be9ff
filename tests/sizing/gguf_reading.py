"""Reads GGUF files back, by the format's description and not by the writer's code."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
BLOCKS = {0: (1, 4), 3: (32, 20), 8: (32, 34), 12: (256, 144), 14: (256, 210)}


@dataclass(frozen=True)
class Found:
    """One tensor: its dimensions, its type's number, and where its bytes are."""

    dimensions: tuple[int, ...]
    number: int
    start: int
    size: int


@dataclass(frozen=True)
class File:
    pairs: dict[str, object]
    tensors: dict[str, Found]


def read(path: Path) -> File:
    with path.open("rb") as file:
        assert file.read(4) == b"GGUF"
        version, tensors, pairs = struct.unpack("<IQQ", file.read(20))
        assert version == 3
        keys = {_text(file): _value(file, _number(file, "I")) for _ in range(pairs)}
        entries = [_entry(file) for _ in range(tensors)]
        start = -(-file.tell() // 32) * 32
    found = {}
    for name, dimensions, number, offset in entries:
        elements, size = BLOCKS[number]
        assert prod(dimensions) % elements == 0
        assert offset % 32 == 0
        found[name] = Found(dimensions, number, start + offset, prod(dimensions) // elements * size)
    return File(keys, found)


def _entry(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    name = _text(file)
    dimensions = tuple(_number(file, "Q") for _ in range(_number(file, "I")))
    return name, dimensions, _number(file, "I"), _number(file, "Q")


def _value(file: BinaryIO, kind: int) -> object:
    if kind == 8:
        return _text(file)
    if kind == 9:
        inner, length = _number(file, "I"), _number(file, "Q")
        return [_value(file, inner) for _ in range(length)]
    return _number(file, SCALARS[kind])


def _number(file: BinaryIO, form: str) -> Any:
    [number] = struct.unpack(f"<{form}", file.read(struct.calcsize(form)))
    return number


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "Q")).decode()
