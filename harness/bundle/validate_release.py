"""Rules of what is uploaded: the image, its digests, the bill of materials, the notes, the evidence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.bundle.disk import COMPRESSION, MOSTLY, NEEDS, digests, qcow_facts
from harness.bundle.sbom import sbom_problem
from harness.errors import HarnessError
from harness.gate.evidence import read_run
from harness.image.content_key import file_sha256
from harness.results.model import Results
from harness.results.publish import RESULTS_FILE
from harness.results.seal import JUNIT_FILE, content_digest


def release_problems(folder: Path, name: str, listing: Mapping[str, Any], *, upload: bool) -> list[str]:
    """What is wrong with the image that the entry describes and with the papers beside it."""
    images = [path for path in sorted(folder.glob("*.qcow2")) if path.is_file()]
    if len(images) != 1:
        return [f"there are {len(images)} images, one is wanted"]
    return [
        *_image_problems(images[0], name, listing, upload=upload),
        *_sbom_problems(images[0], listing),
        *_notes_problems(folder, images[0]),
        *_evidence_problems(folder),
    ]


def _image_problems(path: Path, name: str, listing: Mapping[str, Any], *, upload: bool) -> Iterator[str]:
    told = _first_image(listing)
    version = listing.get("version")
    wanted = rf"{re.escape(name)}-{'' if upload else '([a-z]+-)?'}{re.escape(str(version))}\.qcow2"
    if not re.fullmatch(wanted, path.name):
        yield f"{path.name}: must be called {name}-{version}.qcow2"
    try:
        facts = qcow_facts(path)
    except HarnessError as error:
        yield f"{path.name}: {error.message}"
        return
    if facts.format != listing.get("format"):
        yield f"{path.name}: is {facts.format}, the entry says {listing.get('format')}"
    if facts.has_backing:
        yield f"{path.name}: needs another file, its backing image"
    if facts.format == "qcow2" and facts.compressed < MOSTLY:
        yield f"{path.name}: isn't compressed"
    if facts.compression == COMPRESSION and NEEDS not in str(listing.get("description")):
        yield f"description: doesn't say that the host needs {NEEDS}, which reads {COMPRESSION}"
    if told.get("size") != facts.virtual_size:
        wanted_size = f"{facts.virtual_size} bytes, the virtual size and not the file's"
        yield f"images.size: is {told.get('size')}, the disk has {wanted_size}"
    if not str(told.get("url", "")).endswith(f"/{path.name}"):
        yield f"images.url: doesn't end with {path.name}"
    sha256, md5 = digests(path)
    checksum = told.get("checksum")
    for kind, found in (("sha256", sha256), ("md5", md5)):
        if not isinstance(checksum, dict) or checksum.get(kind) != found:
            yield f"images.checksum.{kind}: isn't that of {path.name}, which is {found}"
        beside = path.with_name(f"{path.name}.{kind}")
        if not beside.is_file():
            yield f"{beside.name}: is missing"
        elif beside.read_text(encoding="utf-8") != f"{found}  {path.name}\n":
            yield f"{beside.name}: isn't the digest of {path.name}"


def _sbom_problems(image: Path, listing: Mapping[str, Any]) -> Iterator[str]:
    path = image.with_suffix(".cdx.json")
    if not path.is_file():
        yield f"{path.name}: is missing"
        return
    text = path.read_text(encoding="utf-8")
    if problem := sbom_problem(text):
        yield f"{path.name}: {problem}"
        return
    document = json.loads(text)
    if (document.get("bomFormat"), document.get("specVersion")) != ("CycloneDX", "1.6"):
        yield f"{path.name}: is no CycloneDX 1.6"
    checksum = _first_image(listing).get("checksum")
    product = document.get("metadata", {}).get("component", {})
    hashes = {one["content"] for one in product.get("hashes", ())}
    if not isinstance(checksum, dict) or checksum.get("sha256") not in hashes:
        yield f"{path.name}: is of another image"
    kinds = [one["type"] for one in document.get("components", ())]
    for kind, what in (("machine-learning-model", "model"), ("operating-system", "operating system")):
        if kind not in kinds:
            yield f"{path.name}: has no {what}"
    if not any(one["bom-ref"] == "engine" for one in document.get("components", ())):
        yield f"{path.name}: has no engine"
    if not any(str(one.get("purl", "")).startswith("pkg:deb/") for one in document.get("components", ())):
        yield f"{path.name}: has no packages of the distribution"
    bare = [
        one["name"]
        for one in document.get("components", ())
        if one["type"] in ("application", "machine-learning-model") and not one.get("licenses")
    ]
    if bare:
        yield f"{path.name}: {bare[0]} has no licence"


def _notes_problems(folder: Path, image: Path) -> Iterator[str]:
    path = folder / "RELEASE-NOTES.md"
    if not path.is_file():
        yield "RELEASE-NOTES.md: is missing"
        return
    text = path.read_text(encoding="utf-8")
    for heading in ("## The gate", "## Measured on this image", "## Changes"):
        if heading not in text.splitlines():
            yield f"RELEASE-NOTES.md: has no section {heading}"
    if digests(image)[0] not in text:
        yield "RELEASE-NOTES.md: are of another image"


def _evidence_problems(folder: Path) -> Iterator[str]:
    """The runs that the gate believed. The logs that a seal covers as well stay where they were made."""
    found = sorted((folder / "evidence").glob(f"*/{RESULTS_FILE}"))
    if not found:
        yield "evidence: there are no results"
    judged = set()
    for path in found:
        try:
            results = read_run(path).results
        except HarnessError as error:
            yield f"evidence: {error.message}"
            continue
        judged.add(results.image.sha256)
        if not _is_as_sealed(path, results):
            yield f"evidence: {path.parent.name} was changed after it was written"
    if len(judged) > 1:
        yield "evidence: speaks of several images"
    notes = folder / "RELEASE-NOTES.md"
    for sha256 in judged if notes.is_file() else ():
        if sha256 not in notes.read_text(encoding="utf-8"):
            yield f"evidence: judged an image ({sha256[:12] or 'none'}) that RELEASE-NOTES.md doesn't name"


def _is_as_sealed(path: Path, results: Results) -> bool:
    seal, junit = results.seal, path.with_name(JUNIT_FILE)
    if seal is None or not junit.is_file() or file_sha256(junit) != seal.files.get(JUNIT_FILE):
        return False
    try:
        return content_digest(json.loads(path.read_text(encoding="utf-8")), seal.files) == seal.sha256
    except ValueError:
        return False


def _first_image(listing: Mapping[str, Any]) -> Mapping[str, Any]:
    images = listing.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return first if isinstance(first, dict) else {}
