"""The seal of a run's results: digests by which a later reader notices that something was changed by hand.

`results.json` carries the sha256 of its own content in canonical form, together with the digests of
junit.xml and of every file that its cells name. Who changes a value, a log or the JUnit file afterwards
breaks it. It is no signature: whoever can write the files can seal them anew. It tells of edits, mix-ups
and files that went missing, not of an adversary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.results.model import Results, Seal, to_json

JUNIT_FILE = "junit.xml"


def canonical(plain: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and no white space, in UTF-8: the same content always gives the same bytes."""
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sealed(results: Results, folder: Path, junit: str) -> Results:
    """The results with their seal. `junit` is what junit.xml will hold; the cells' files are in `folder`.

    A file that a cell names and that isn't there gets no digest. Raises HarnessError when one can't be read.
    """
    files = {JUNIT_FILE: hashlib.sha256(junit.encode()).hexdigest()}
    for name in _named_files(results):
        if (folder / name).is_file():
            files[name] = _file_digest(folder / name)
    return replace(results, seal=Seal(sha256=content_digest(to_json(results), files), files=files))


def content_digest(plain: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """sha256 over everything in the plain form of results but the seal, and over the files' digests."""
    return hashlib.sha256(canonical({**plain, "seal": {"files": dict(files)}})).hexdigest()


def broken_seal(path: Path, results: Results) -> str:
    """What is wrong with the seal of the results in this file, in words; "" when it holds.

    Raises HarnessError when something can't be read.
    """
    seal, folder = results.seal, path.parent
    if seal is None:
        return "carries no seal: written by an older harness, or edited"
    # The file's own words, not what was read from them: what an older harness didn't write isn't sealed.
    plain = json.loads(path.read_text(encoding="utf-8"))
    if content_digest(plain, seal.files) != seal.sha256:
        return "was changed after it was written: its content doesn't fit its digest"
    if unsealed := [name for name in (JUNIT_FILE, *_named_files(results)) if name not in seal.files]:
        return f"names files without a digest: {_some(unsealed)}"
    if gone := [name for name in seal.files if not (folder / name).is_file()]:
        return f"has lost files that were written with it: {_some(gone)}"
    if changed := [name for name, digest in seal.files.items() if _file_digest(folder / name) != digest]:
        return f"lies beside files that were changed after it was written: {_some(changed)}"
    return ""


def _named_files(results: Results) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for cell in results.cells for name in cell.files))


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HarnessError(f"can't read {path}: {error.strerror}") from None


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
