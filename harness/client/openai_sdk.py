"""openai-python of a chosen major version, driven in its own interpreter (see openai_driver.py)."""

from __future__ import annotations

import itertools
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from harness.client.https import ApplianceAddress
from harness.errors import HarnessError
from harness.locations import REPOSITORY

DRIVER = Path(__file__).with_name("openai_driver.py")
Mode = Literal["sync", "async"]
MAJORS = ("2", "3")


class SdkCallFailed(Exception):
    """A call that was expected to give a result raised instead."""


@dataclass(frozen=True)
class SdkException:
    """The exception a call raised."""

    name: str
    bases: tuple[str, ...]
    status: int | None
    body: Any
    message: str
    cause: str | None


@dataclass(frozen=True)
class SdkAnswer:
    """What one call gave. Exactly one of `result`, `chunks` and `exception` is set."""

    result: Any
    chunks: tuple[dict[str, Any], ...] | None
    chunk_times_s: tuple[float, ...]
    """Seconds since the call was made."""
    exception: SdkException | None
    total_s: float

    def value(self) -> Any:
        """The result.

        Raises:
            SdkCallFailed: the call raised; the message has class, status and text.
        """
        if self.exception is not None:
            raise SdkCallFailed(
                f"openai raised {self.exception.name} (status {self.exception.status}): "
                f"{self.exception.message}"
            )
        return self.result


def interpreter(major: str) -> Path:
    """The Python that has openai of this major version: `.venv-openai2` for 2, our own for 3.

    Raises:
        HarnessError: `make setup` has not made it.
    """
    if major == "3":
        return Path(sys.executable)
    found = Path(os.environ.get("SLM_OPENAI2_PYTHON") or REPOSITORY / ".venv-openai2" / "bin" / "python")
    if not found.exists():
        raise HarnessError(f"no interpreter with openai {major}.x at {found}", hint="run `make setup`")
    return found


class OpenAISdk:
    """A running driver. Calls are answered in order, one at a time."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], version: str) -> None:
        self.version = version
        self._process = process
        self._errors = errors
        self._ids = itertools.count(1)

    @property
    def process_id(self) -> int:
        """The driver's process id on this host."""
        return self._process.pid

    def call(
        self,
        name: str,
        *,
        mode: Mode = "sync",
        read_timeout_s: float = 120.0,
        deadline_s: float | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        default_trust: bool = False,
        **arguments: Any,
    ) -> SdkAnswer:
        """Make one call, e.g. `call("chat.completions.create", model=..., messages=...)`.

        Args:
            read_timeout_s: the SDK's own timeout between two reads, in seconds.
            deadline_s: how long to wait for the driver; 15 s more than `read_timeout_s` unless given.
            default_trust: use the system's trust store instead of the appliance's certificate.

        Raises:
            HarnessError: the driver died or did not answer in time.
        """
        job: dict[str, Any] = {
            "id": next(self._ids),
            "call": name,
            "mode": mode,
            "read_timeout_s": read_timeout_s,
            "arguments": arguments,
        }
        if base_url is not None:
            job["base_url"] = base_url
        if api_key is not None:
            job["api_key"] = api_key
        if default_trust:
            job["default_trust"] = True
        _write_line(self._process, job)
        answer = _read_line(
            self._process, self._errors, read_timeout_s + 15 if deadline_s is None else deadline_s
        )
        if answer.get("id") != job["id"]:
            raise HarnessError(f"openai driver answered {answer.get('id')} to call {job['id']}")
        raised: Mapping[str, Any] | None = answer.get("exception")
        return SdkAnswer(
            result=answer.get("result"),
            chunks=tuple(answer["chunks"]) if "chunks" in answer else None,
            chunk_times_s=tuple(answer.get("chunk_times_s", ())),
            exception=None
            if raised is None
            else SdkException(
                name=raised["class"],
                bases=tuple(raised["bases"]),
                status=raised["status"],
                body=raised["body"],
                message=raised["message"],
                cause=raised["cause"],
            ),
            total_s=answer["total_s"],
        )


@dataclass(frozen=True)
class StartedDriver:
    """A driver that loads its package, which takes a second or two, and waits to be told whom to call."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def set_up(
        self, *, api_url: str, ca_file: Path, api_key: str, lookup: Mapping[str, str] | None = None
    ) -> OpenAISdk:
        """Tell it, once, and wait until it is ready.

        Args:
            lookup: addresses of names that do not resolve, for the driver alone.

        Raises:
            HarnessError: it did not start, for instance because the interpreter lacks the package.
        """
        setup = {"base_url": api_url, "ca_file": str(ca_file), "api_key": api_key}
        _write_line(self.process, {**setup, "lookup": dict(lookup or {})})
        hello = _read_line(self.process, self.errors, 60)
        return OpenAISdk(self.process, self.errors, hello["version"])


@contextmanager
def start_driver(python: Path) -> Iterator[StartedDriver]:
    """Start a driver under `python`, without waiting for it; it ends when the block is left."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(python), "-I", str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
        )
        try:
            yield StartedDriver(process, errors)
        finally:
            _end(process)


@contextmanager
def open_sdk(
    python: Path, *, api_url: str, ca_file: Path, api_key: str, lookup: Mapping[str, str] | None = None
) -> Iterator[OpenAISdk]:
    """Start a driver under `python` and set it up; it ends when the block is left. Raises HarnessError."""
    with start_driver(python) as started:
        yield started.set_up(api_url=api_url, ca_file=ca_file, api_key=api_key, lookup=lookup)


def set_up_for(appliance: ApplianceAddress, started: StartedDriver) -> OpenAISdk:
    """Set up a driver for an appliance. Raises HarnessError."""
    return started.set_up(
        api_url=appliance.api_url,
        ca_file=appliance.ca_file,
        api_key=appliance.password,
        lookup=appliance.name_lookup,
    )


@contextmanager
def open_appliance_sdk(appliance: ApplianceAddress, major: str) -> Iterator[OpenAISdk]:
    """`open_sdk` for an appliance and a major version ("2" or "3")."""
    with start_driver(interpreter(major)) as started:
        yield set_up_for(appliance, started)


def _write_line(process: subprocess.Popen[bytes], line: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # the read that follows reports why it died
        process.stdin.write(json.dumps(line).encode() + b"\n")
        process.stdin.flush()


def _read_line(process: subprocess.Popen[bytes], errors: IO[bytes], deadline_s: float) -> dict[str, Any]:
    assert process.stdout is not None
    until = time.monotonic() + deadline_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, until - time.monotonic())):
                raise HarnessError(f"openai driver did not answer within {deadline_s:.0f} s")
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                errors.seek(0)
                tail = errors.read().decode(errors="replace").strip().splitlines()[-1:]
                raise HarnessError(f"openai driver ended: {' '.join(tail) or 'no message'}")
            line += piece
    answer: dict[str, Any] = json.loads(line)
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.kill()  # it holds nothing that needs an orderly end
    process.wait()
    process.stdout.close()
    with suppress(BrokenPipeError):
        process.stdin.close()
