"""Writes a GGUF file of a model's shape with random weights, a few MiB of it in memory at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.sizing.gguf_header import aligned, file_bytes, header_of
from harness.sizing.quant_blocks import FORMATS, constant_floats, random_blocks
from harness.sizing.shapes import ModelShape, Tensor

UNFINISHED_PREFIX = ".making-"
SUFFIX = ".synthetic.gguf"

_FLUSH_BYTES = 256 * 1024 * 1024
"""Written so much, the disk is given it at once: what stays in memory unwritten would be written while the
model is timed, and a late error would be nobody's."""


@contextmanager
def synthetic_model(
    shape: ModelShape, folder: Path, *, keep: bool = False, on_progress: Callable[[int], None] | None = None
) -> Iterator[Path]:
    """Lend a file of the model's shape in `folder`; it is removed when the block ends, however it ends,
    unless `keep`. A file that an earlier run kept is lent as it is, and stays.

    `on_progress` is called with the bytes written so far. What a killed run left in `folder` is removed
    first. Raises HarnessError when the disk refuses.
    """
    sweep(folder)
    if is_kept(shape, folder):
        yield kept_path(shape, folder)
        return
    unfinished = folder / f"{UNFINISHED_PREFIX}{shape.key}-{os.getpid()}"
    path = folder / f"{shape.key}-{os.getpid()}{SUFFIX}"
    try:
        with _created(unfinished) as descriptor:
            write_model(shape, descriptor, on_progress)
            unfinished.rename(path)
            # The lock of the open descriptor is what tells another run's sweep that this file is in use.
            yield path
            if keep:
                path.rename(kept_path(shape, folder))
    finally:
        for left in (unfinished, path):
            left.unlink(missing_ok=True)


def kept_path(shape: ModelShape, folder: Path) -> Path:
    """Where `keep` leaves the file."""
    return folder / f"{shape.key}.gguf"


def is_kept(shape: ModelShape, folder: Path) -> bool:
    """Whether an earlier run kept a file of this very shape in `folder`."""
    path = kept_path(shape, folder)
    if not path.is_file() or path.stat().st_size != file_bytes(shape):
        return False
    header = header_of(shape, shape.tensors())
    with path.open("rb") as file:
        return file.read(len(header)) == header


def write_model(shape: ModelShape, descriptor: int, on_progress: Callable[[int], None] | None = None) -> None:
    """Write the whole file to an open descriptor and have it on the disk. Raises HarnessError."""
    tensors = shape.tensors()
    written = unflushed = 0
    try:
        for part in _parts(header_of(shape, tensors), tensors):
            _write_all(descriptor, part)
            written, unflushed = written + len(part), unflushed + len(part)
            if unflushed >= _FLUSH_BYTES:
                os.fdatasync(descriptor)
                unflushed = 0
                if on_progress is not None:
                    on_progress(written)
        os.fdatasync(descriptor)
    except OSError as error:
        raise HarnessError(
            f"can't write a file of the shape of {shape.key}: {error.strerror} after {written:,} bytes",
            hint="free some space, or set SLM_CACHE to a folder on a larger disk",
        ) from None


def sweep(folder: Path) -> None:
    """Remove what killed runs left in `folder`; files of running ones are locked and stay."""
    for left in (*folder.glob(f"{UNFINISHED_PREFIX}*"), *folder.glob(f"*{SUFFIX}")):
        with contextlib.suppress(OSError), left.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


@contextmanager
def _created(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HarnessError(f"can't create {path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _parts(header: bytes, tensors: tuple[Tensor, ...]) -> Iterator[bytes | memoryview]:
    yield header
    for seed, tensor in enumerate(tensors):
        yield from _tensor_parts(tensor, seed)
        yield bytes(aligned(tensor.size) - tensor.size)


def _tensor_parts(tensor: Tensor, seed: int) -> Iterator[memoryview]:
    """The tensor's bytes. Norms are 1 and biases 0, as before a training; the rest is random."""
    if tensor.kind == "F32":
        tile = memoryview(constant_floats(0.0 if tensor.name.endswith(".bias") else 1.0, tensor.size))
    else:
        tile = memoryview(random_blocks(FORMATS[tensor.kind], tensor.size, seed))
    left = tensor.size
    while left > 0:
        part = tile[:left]
        yield part
        left -= len(part)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]
