"""Container images as tools save them, made by hand: layers of files, a configuration, a manifest."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TAG = "quay.io/go-skynet/local-ai-backends:v3.11.0-cpu-llama-cpp"
BACKEND: Mapping[str, bytes] = {
    "run.sh": b"#!/bin/bash\n",
    "llama-cpp-avx2": b"\x7fELF",
    "lib/ld.so": b"\x7fELF",
}


def layer(files: Mapping[str, bytes], *, mode: int = 0o755, links: Mapping[str, str] | None = None) -> bytes:
    """A tar of these files and symbolic links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def configuration(layers: Sequence[bytes], **changed: Any) -> bytes:
    """An image's configuration; its sha256 is the image's id."""
    sums = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in layers]
    facts = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": sums}}
    return json.dumps({**facts, **changed}).encode()


def save(
    path: Path,
    layers: Sequence[bytes],
    *,
    tags: Sequence[str] | None = (TAG,),
    zipped: bool = False,
    config: bytes | None = None,
    manifest: Any = None,
) -> str:
    """Write the archive; returns the image's id."""
    described = configuration(layers) if config is None else config
    image_id = hashlib.sha256(described).hexdigest()
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = {"Config": f"{image_id}.json", "RepoTags": None if tags is None else list(tags), "Layers": names}
    members = {f"{image_id}.json": described}
    members |= {name: gzip.compress(one) if zipped else one for name, one in zip(names, layers, strict=True)}
    members["manifest.json"] = json.dumps([listed] if manifest is None else manifest).encode()
    path.write_bytes(layer(members, mode=0o644))
    return image_id
