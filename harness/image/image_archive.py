"""Container images saved by hand: `docker save`, `skopeo copy ... docker-archive:`, `crane pull`.

The id of an image is the sha256 of its configuration, and that lists the sha256 of every layer's content: who
knows the id has verified all of it, whatever tool wrote the archive and however it compressed the layers.
Format: the archive's manifest.json names configuration and layers (Docker Image Specification v1.2).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from harness.errors import HarnessError

_JSON_BYTES = 4 * 1024 * 1024
_CHUNK = 1024 * 1024
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True)
class ImageArchive:
    """What an archive says of itself: `image_id` is a sha256 in hexadecimal, `layers` are pairs of a member
    of the archive and the sha256 of its uncompressed content, the lowest first."""

    path: Path
    image_id: str
    layers: tuple[tuple[str, str], ...]


def read_archive(path: Path, *, tag: str = "", architecture: str = "amd64") -> ImageArchive:
    """Read an archive's manifest and configuration; no layer is looked at.

    Raises HarnessError when it isn't an archive of one image for this architecture, or when it names tags and
    `tag` (where given) is none of them.
    """
    with _opened(path) as archive:
        manifest = _json(archive, "manifest.json", path)
        try:
            [image] = manifest
            config = _bytes(archive, str(image["Config"]), path)
            described = json.loads(config)
            sums = [str(sha256).removeprefix("sha256:") for sha256 in described["rootfs"]["diff_ids"]]
            names = [str(name) for name in image["Layers"]]
            tags = [str(one).rpartition(":")[2] for one in image.get("RepoTags") or ()]
            made_for = f"{described.get('os')}/{described.get('architecture')}"
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _wrong(path, f"it does not describe exactly one image ({error!r})") from error
    if len(names) != len(sums) or not names:
        raise _wrong(path, "its manifest and its configuration disagree about the layers")
    if made_for != f"linux/{architecture}":
        raise _wrong(path, f"it is for {made_for}, not for linux/{architecture}")
    if tag and tags and tag not in tags:
        raise _wrong(path, f"its tag is {', '.join(tags)}, not {tag}")
    return ImageArchive(path, hashlib.sha256(config).hexdigest(), tuple(zip(names, sums, strict=True)))


def unpack_image(archive: ImageArchive, target: Path) -> None:
    """Unpack the image's files into `target`, a new folder; every layer's content is verified.

    Raises HarnessError when a layer is another one than the configuration says or holds what must not be
    unpacked (devices, paths and links that lead out of it). What was unpacked until then is left to the
    caller.
    """
    target.mkdir()
    with _opened(archive.path) as outer:
        for name, sha256 in archive.layers:
            _unpack_layer(archive, outer, name, sha256, target)


def _unpack_layer(
    archive: ImageArchive, outer: tarfile.TarFile, name: str, sha256: str, target: Path
) -> None:
    content = _Hashing(_uncompressed(_member(outer, name, archive.path), archive.path))
    try:
        with tarfile.open(fileobj=content, mode="r|") as layer:  # type: ignore[call-overload]
            for entry in layer:
                if not _is_whiteout(entry, target):
                    layer.extract(entry, target, filter="data")
        while content.read(_CHUNK):
            pass  # what tar leaves unread at the end counts as well
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _wrong(archive.path, f"layer {name} can't be unpacked: {error}") from error
    if content.digest.hexdigest() != sha256:
        raise _wrong(archive.path, f"layer {name} is not the one that its configuration names")


def _is_whiteout(entry: tarfile.TarInfo, target: Path) -> bool:
    """Whiteouts take away what a lower layer brought; True for what is one."""
    place = PurePosixPath(entry.name)
    if not place.name.startswith(_WHITEOUT):
        return False
    folder = target / place.parent
    if place.is_absolute() or ".." in place.parts or not folder.resolve().is_relative_to(target.resolve()):
        raise tarfile.OutsideDestinationError(entry, str(folder))
    gone = list(folder.iterdir()) if place.name == _OPAQUE else [folder / place.name.removeprefix(_WHITEOUT)]
    for path in gone:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return True


class _Hashing:
    """A file to read from that hashes what passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _uncompressed(file: IO[bytes], path: Path) -> IO[bytes]:
    magic = file.read(4)
    file.seek(0)
    if magic == _ZSTD:
        raise _wrong(path, "its layers are compressed with zstd; save it uncompressed or with gzip")
    return gzip.GzipFile(fileobj=file) if magic.startswith(_GZIP) else file  # type: ignore[return-value]


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as archive:
            yield archive
    except (tarfile.ReadError, OSError) as error:
        raise _wrong(path, f"it can't be read as an uncompressed tar: {error}") from error


def _member(archive: tarfile.TarFile, name: str, path: Path) -> IO[bytes]:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise _wrong(path, f"it has no {name}")
    return file


def _bytes(archive: tarfile.TarFile, name: str, path: Path) -> bytes:
    data = _member(archive, name, path).read(_JSON_BYTES + 1)
    if len(data) > _JSON_BYTES:
        raise _wrong(path, f"its {name} is larger than any such file")
    return data


def _json(archive: tarfile.TarFile, name: str, path: Path) -> Any:
    try:
        return json.loads(_bytes(archive, name, path))
    except ValueError as error:
        raise _wrong(path, f"its {name} is not JSON") from error


def _wrong(path: Path, problem: str) -> HarnessError:
    return HarnessError(
        f"{path} is not the saved image that is wanted: {problem}",
        hint="save it with docker save, or skopeo copy docker://IMAGE docker-archive:FILE",
    )
