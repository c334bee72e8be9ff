"""Reads the header of a GGUF file: the metadata, and each tensor's shape and size. The weights are not read.

The format is described in ggml's gguf.h: little-endian, version 2 or 3. llama.cpp's own Python package for it
wants the whole file on this host; the models of guests are not, and their headers are all that is needed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import math
import mmap
import shlex
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import MIB
from harness.machine.protocol import Machine
from harness.strict_yaml import Reader, read_yaml

TYPES_FILE = Path(__file__).with_name("ggml_types.yaml")

LONGEST_KEPT_ARRAY = 4096
"""Values; longer arrays (the vocabulary) are kept as their length only."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT_KEY = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_MOST_ENTRIES = 1_000_000
_MOST_DIMENSIONS = 4

# By the number gguf.h gives a metadata value's type.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_GUEST_HEADER_BYTES = (4 * MIB, 16 * MIB, 64 * MIB)
"""What is fetched of a file in a guest until the header is whole: its length is that of the vocabulary."""


@dataclass(frozen=True)
class LongArray:
    """Stands for an array that is too long to keep."""

    length: int


Value = int | float | str | tuple["int | float | str", ...] | LongArray


@dataclass(frozen=True)
class BlockType:
    """A ggml tensor type: `values` numbers take `bytes` bytes."""

    name: str
    values: int
    bytes: int


@dataclass(frozen=True)
class Tensor:
    """`shape` begins with the length of a row; `bytes` without padding; `offset` from the first tensor's."""

    name: str
    shape: tuple[int, ...]
    type: BlockType
    offset: int

    @property
    def values(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.values // self.type.values * self.type.bytes


@dataclass(frozen=True)
class GgufHeader:
    """`data_start` is where in the file the first tensor begins."""

    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_start: int
    file_bytes: int


@cache
def block_types() -> Mapping[int, BlockType]:
    """The tensor types by the number a GGUF file gives them. Raises HarnessError when the table is broken."""
    reader = Reader(TYPES_FILE)
    top = reader.mapping(read_yaml(TYPES_FILE), "the file", required={"types"})
    found = {}
    for name, entry in top["types"].items():
        fields = reader.mapping(entry, name, required={"id", "values", "bytes"})
        number = reader.integer(fields, "id", name, low=0, high=1000)
        found[number] = BlockType(
            name,
            values=reader.integer(fields, "values", name, low=1, high=1024),
            bytes=reader.integer(fields, "bytes", name, low=1, high=4096),
        )
    return found


def block_type(name: str) -> BlockType:
    """The type called `name` in any case, for example "q8_0". Raises HarnessError listing the known ones."""
    for known in block_types().values():
        if known.name == name.upper():
            return known
    names = ", ".join(sorted(known.name for known in block_types().values()))
    raise HarnessError(f"unknown tensor type {name!r}", hint=f"known are: {names}")


def read_header(path: Path) -> GgufHeader:
    """Read a file's header. Raises HarnessError when it can't be read, is no GGUF file, or is cut short."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return parse_header(view, len(view), str(path))
    except OSError as error:
        raise HarnessError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # what mmap says of an empty file
        raise HarnessError(f"{path}: is not a GGUF file: it is empty") from error


def read_guest_header(machine: Machine, path: str, *, timeout: float = 120) -> GgufHeader:
    """Read the header of a file in the guest; raises HarnessError as `read_header` does."""
    *shorter, longest = _GUEST_HEADER_BYTES
    for length in shorter:
        with contextlib.suppress(_EndsInHeader):
            return _fetch_header(machine, path, length, timeout)
    return _fetch_header(machine, path, longest, timeout)


def _fetch_header(machine: Machine, path: str, length: int, timeout: float) -> GgufHeader:
    name = shlex.quote(path)
    command = f"set -o pipefail; stat -Lc %s {name} && head -c {length} {name} | gzip -1 | base64 -w 0"
    result = machine.run(command, timeout=timeout)
    size, _, packed = result.stdout.partition("\n")
    if result.exit_status != 0:
        raise HarnessError(f"{path} in the guest: cannot be read: {result.stderr.strip()}")
    try:
        beginning = gzip.decompress(base64.b64decode(packed, validate=True))
        return parse_header(beginning, int(size), f"{path} in the guest")
    except (binascii.Error, EOFError, OSError, ValueError) as error:
        raise HarnessError(f"{path} in the guest: its beginning came through broken: {error}") from error


def parse_header(beginning: bytes | mmap.mmap, file_bytes: int, name: str) -> GgufHeader:
    """The header from a file's beginning. Raises HarnessError, naming the file and what is wrong with it."""
    cursor = _Cursor(beginning, name)
    if beginning[:4] != _MAGIC:
        raise HarnessError(f"{name}: is not a GGUF file: it does not begin with GGUF")
    cursor.at = 4
    version = cursor.integer("I")
    if version not in _VERSIONS:
        known = " and ".join(str(number) for number in _VERSIONS)
        raise HarnessError(f"{name}: has GGUF version {version}; readable are {known}, little-endian")
    tensor_count, key_count = cursor.count("tensors"), cursor.count("metadata keys")
    metadata = {}
    for _ in range(key_count):
        key = cursor.text()
        metadata[key] = cursor.value(cursor.integer("I"))
    tensors = tuple(_tensor(cursor, name) for _ in range(tensor_count))
    alignment = metadata.get(_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise HarnessError(f"{name}: {_ALIGNMENT_KEY} must be a positive whole number")
    data_start = -(-cursor.at // alignment) * alignment
    header = GgufHeader(metadata, tensors, data_start, file_bytes)
    _require_whole(header, name)
    return header


def _tensor(cursor: _Cursor, name: str) -> Tensor:
    label = cursor.text()
    dimensions = cursor.integer("I")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise HarnessError(f"{name}: tensor {label!r} has {dimensions} dimensions, 1 to 4 are possible")
    shape = tuple(cursor.integer("Q") for _ in range(dimensions))
    number = cursor.integer("I")
    if number not in block_types():
        raise HarnessError(
            f"{name}: tensor {label!r} has the unknown type {number}", hint=f"add it to {TYPES_FILE.name}"
        )
    kind = block_types()[number]
    if shape[0] % kind.values:
        raise HarnessError(
            f"{name}: tensor {label!r} has rows of {shape[0]} values, which do not divide into {kind.name}'s"
            f" blocks of {kind.values}"
        )
    return Tensor(label, shape, kind, offset=cursor.integer("Q"))


def _require_whole(header: GgufHeader, name: str) -> None:
    end = header.data_start + max((tensor.offset + tensor.bytes for tensor in header.tensors), default=0)
    if end > header.file_bytes:
        raise HarnessError(
            f"{name}: is cut short: its tensors end at byte {end:,}, the file has {header.file_bytes:,}",
            hint="download or write it again",
        )


class _EndsInHeader(HarnessError):
    """There is less of the file than its header."""


class _Cursor:
    """A place in the file's beginning that moves on with each thing read."""

    def __init__(self, data: bytes | mmap.mmap, name: str) -> None:
        self._data = data
        self._name = name
        self.at = 0

    def integer(self, kind: str) -> int:
        return int(self._scalar(kind))

    def count(self, what: str) -> int:
        value = self.integer("Q")
        if value > _MOST_ENTRIES:
            raise HarnessError(f"{self._name}: says it has {value:,} {what}; the header is broken")
        return value

    def text(self) -> str:
        length = self.integer("Q")
        return self._take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array()
        return self._scalar(self._format(kind))

    def _array(self) -> Value:
        kind, length = self.integer("I"), self.integer("Q")
        if kind == _STRING:
            if length <= LONGEST_KEPT_ARRAY:
                return tuple(self.text() for _ in range(length))
            for _ in range(length):
                self._skip(self.integer("Q"))
            return LongArray(length)
        # Arrays of arrays are allowed by the format and used by nobody.
        item = self._format(kind)
        if length <= LONGEST_KEPT_ARRAY:
            return tuple(self._scalar(item) for _ in range(length))
        self._skip(length * struct.calcsize(item))
        return LongArray(length)

    def _format(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise HarnessError(f"{self._name}: has a metadata value of the unknown type {kind}")
        return _SCALARS[kind]

    def _scalar(self, kind: str) -> int | float:
        value: int | float = struct.unpack("<" + kind, self._take(struct.calcsize(kind)))[0]
        return value

    def _take(self, length: int) -> bytes:
        start = self.at
        self._skip(length)
        return self._data[start : self.at]

    def _skip(self, length: int) -> None:
        if length > len(self._data) - self.at:
            raise _EndsInHeader(f"{self._name}: ends in the middle of its header", hint="download it again")
        self.at += length
