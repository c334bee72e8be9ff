"""One download step: free space, resumed transfers, size and sha256; only whole, right files in the cache.

A file that is already in the cache is never deleted or changed here, right or wrong: it may be 14 GB that
somebody carried in by hand. While a transfer runs its bytes are in `<file>.part`, which goes when it
fails or is interrupted. Only a process that was killed outright leaves one, and the next run resumes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from harness.errors import HarnessError
from harness.locations import MIB, downloads, require_free
from harness.terminal import Step, step

MARGIN = 64 * MIB
"""Bytes that stay free beside a download, for logs and the file system's own needs."""

ATTEMPTS = 5
"""Tries of one transfer; each goes on where the last one broke off."""

_CHUNK = 1024 * 1024
_RETRY_PAUSE_S = 1.0
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Expected:
    """What a file must be: name in the cache, bytes, sha256 in lower-case hexadecimal."""

    file: str
    size: int
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies in the cache."""
        return downloads() / self.file


@dataclass(frozen=True)
class DownloadSource:
    """An address, and a file of certificate authorities to trust beside the system's ("" for none)."""

    url: str
    certificates: str = ""


class _Broken(Exception):
    """A transfer broke off in a way that another try may mend."""


def cached(expected: Expected) -> Path | None:
    """The verified file in the cache, or None when there is none.

    A file that was verified once is not read again until its size, time or inode change. Raises HarnessError,
    and leaves the file alone, when it is not the one expected.
    """
    path = expected.path
    if not path.is_file():
        return None
    seen = _fingerprint(path, expected)
    remembered = _stamp(path)
    with contextlib.suppress(OSError):
        if remembered.read_text() == seen:
            return path
    size = path.stat().st_size
    with step(f"verify {expected.file} ({size / MIB:,.0f} MiB)") as verifying:
        # A wrong size settles it, but the hash is what people look up, so it is computed either way.
        actual = _sha256(path, verifying)
        if actual != expected.sha256 or size != expected.size:
            raise HarnessError(
                f"{path} is not the file artifacts.yaml asks for: sha256 is {actual} ({size} bytes), "
                f"expected {expected.sha256} ({expected.size} bytes)",
                hint="place the right file, or move this one away to have it downloaded; it was not touched",
            )
    _remember(path, seen)
    return path


def fetch_file(expected: Expected, find_source: Callable[[], DownloadSource]) -> Path:
    """Download a file into the cache and verify it; the cache gets it whole and right, or not at all.

    `find_source` is asked only after the disk was found large enough. Raises HarnessError for no space,
    an unreachable server, an HTTP error, or another size or hash than expected.
    """
    part = expected.path.with_name(f"{expected.file}.part")
    have = part.stat().st_size if part.is_file() else 0
    require_free(part.parent, max(0, expected.size - have) + MARGIN, f"downloading {expected.file}")
    with step(f"download {expected.file} ({expected.size / MIB:,.0f} MiB)") as progress:
        try:
            source = find_source()
            resumed = have > 0
            _transfer(source, part, expected, progress)
            actual = _sha256(part, progress)
            if actual != expected.sha256 and resumed:
                # The old bytes may have been another file's: only a transfer from the start tells.
                progress.note("the resumed file is not right; downloading it from the start")
                part.unlink()
                _transfer(source, part, expected, progress)
                actual = _sha256(part, progress)
            _install(part, expected, actual, without_credentials(source.url))
        except OSError as error:
            raise HarnessError(f"cannot write {part}: {error.strerror or error}") from error
        finally:
            # Gone already when all went well; a wrong or half-written file must not stay.
            part.unlink(missing_ok=True)
    return expected.path


def local_sha256(path: Path) -> str:
    """The sha256 of a file that somebody placed in the cache; remembered until its size, time or inode
    change."""
    seen = _fingerprint(path, Expected(path.name, 0, ""))
    remembered = path.with_name(f".{path.name}.sha256")
    with contextlib.suppress(OSError):
        known, _, digest = remembered.read_text().partition("\n")
        if known == seen and digest:
            return digest
    with step(f"hash {path.name} ({path.stat().st_size / MIB:,.0f} MiB)") as hashing:
        digest = _sha256(path, hashing)
    with contextlib.suppress(OSError):
        remembered.write_text(f"{seen}\n{digest}")
    return digest


def announced_size(source: DownloadSource) -> int:
    """The bytes that a server says a file has. Raises HarnessError when it doesn't say."""
    shown = without_credentials(source.url)
    try:
        with httpx.Client(
            verify=_trust(source.certificates), timeout=_TIMEOUT, follow_redirects=True
        ) as client:
            answer = client.head(source.url, headers={"Accept-Encoding": "identity"})
    except httpx.TransportError as error:
        raise HarnessError(f"{shown} can't be reached: {without_credentials(str(error))}") from error
    length = answer.headers.get("Content-Length", "")
    if answer.status_code != 200 or not length.isdigit():
        raise HarnessError(f"{shown} answered {answer.status_code} and did not tell the file's size")
    return int(length)


def install_file(expected: Expected, content: IO[bytes], origin: str) -> Path:
    """Copy a stream into the cache, verified on the way. Raises HarnessError when it is another file."""
    part = expected.path.with_name(f"{expected.file}.part")
    require_free(part.parent, expected.size + MARGIN, f"unpacking {expected.file}")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as sink:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                sink.write(chunk)
        _install(part, expected, digest.hexdigest(), origin)
    except OSError as error:
        raise HarnessError(f"cannot write {part}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return expected.path


def without_credentials(text: str) -> str:
    """The text with user names and passwords taken out of the addresses in it."""
    return _CREDENTIALS.sub("", text)


def _install(part: Path, expected: Expected, actual: str, origin: str) -> None:
    size = part.stat().st_size
    if actual != expected.sha256 or size != expected.size:
        raise HarnessError(
            f"{expected.file} from {origin} is not the file artifacts.yaml asks for: sha256 is {actual} "
            f"({size} bytes), expected {expected.sha256} ({expected.size} bytes)",
            hint="try again; if it stays, the file at the source was changed: compare it, then correct "
            "appliance/artifacts.yaml. Nothing was kept",
        )
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.chmod(0o644)
    part.rename(expected.path)
    _remember(expected.path, _fingerprint(expected.path, expected))


def _transfer(source: DownloadSource, part: Path, expected: Expected, progress: Step) -> None:
    """Bring `part` to the expected size; ATTEMPTS tries in a row without one more byte are a failure."""
    shown = without_credentials(source.url)
    with httpx.Client(verify=_trust(source.certificates), timeout=_TIMEOUT, follow_redirects=True) as client:
        failures = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                _transfer_once(client, source.url, part, expected, progress)
                return
            except (_Broken, httpx.TransportError) as error:
                after = part.stat().st_size if part.exists() else 0
                failures = 1 if after > before else failures + 1
                reason = without_credentials(str(error)) or type(error).__name__
                if failures >= ATTEMPTS:
                    raise HarnessError(
                        f"downloading {shown} failed {failures} times in a row, "
                        f"at {after} of {expected.size} bytes: {reason}",
                        hint=f"check the network, or place the file as {expected.path}",
                    ) from error
                progress.waiting_for(f"the next try ({reason})")
                time.sleep(_RETRY_PAUSE_S * failures)
                progress.waiting_for("")


def _transfer_once(client: httpx.Client, url: str, part: Path, expected: Expected, progress: Step) -> None:
    start = part.stat().st_size if part.exists() else 0
    if start > expected.size:
        part.unlink()
        start = 0
    if start == expected.size:
        return
    # identity: with a compressed answer offsets would not be those of the file
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 206:
            match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != start:
                part.unlink()
                raise _Broken("the server answered with another part than the one asked for")
        elif answer.status_code == 200:
            start = 0  # the server doesn't resume: from the start
        elif answer.status_code == 416:
            part.unlink()
            raise _Broken("the server has no such part")
        elif answer.status_code in {408, 425, 429, 500, 502, 503, 504}:
            raise _Broken(f"the server answered {answer.status_code}")
        else:
            raise HarnessError(
                f"{without_credentials(url)} answered {answer.status_code} {answer.reason_phrase}",
                hint=f"check the address in appliance/artifacts.yaml, or place the file as {expected.path}",
            )
        with part.open("ab" if start else "wb") as sink:
            done = start
            for chunk in answer.iter_bytes(_CHUNK):
                sink.write(chunk)
                done += len(chunk)
                progress.progress(done, expected.size)
                if done > expected.size:
                    return  # too long to be right: no need to fill the disk with the rest
    if done < expected.size:
        raise _Broken(f"the connection ended at {done} of {expected.size} bytes")


def _trust(certificates: str) -> ssl.SSLContext:
    """The system's certificate authorities and Mozilla's, and the user's own where given."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    if Path(certificates).is_file():
        context.load_verify_locations(cafile=certificates)
    elif certificates:
        context.load_verify_locations(capath=certificates)
    return context


def _sha256(path: Path, progress: Step) -> str:
    digest = hashlib.sha256()
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress.progress(done, total)
    return digest.hexdigest()


def _fingerprint(path: Path, expected: Expected) -> str:
    status = path.stat()
    facts = [
        expected.sha256,
        expected.size,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    ]
    return json.dumps(facts)


def _stamp(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def _remember(path: Path, seen: str) -> None:
    # A read-only cache is fine: the file is then verified on every use.
    with contextlib.suppress(OSError):
        _stamp(path).write_text(seen)
