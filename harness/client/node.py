"""Node's own fetch as a client; it gives up after 300 s of silence, whatever its caller wants."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.client.https import ApplianceAddress, Auth
from harness.client.sse import Event, SseDecoder
from harness.errors import HarnessError

PROGRAM = Path(__file__).with_name("node_fetch.mjs")
ASKED = b"ASKED\n"
"""What the program prints when fetch has been called."""
OLDEST = 18
"""The first major version of Node with fetch built in."""


@dataclass(frozen=True)
class NodeAnswer:
    """What fetch saw. Times are seconds since fetch was called; `error` is None when it went well."""

    node: str
    status: int | None
    headers: Mapping[str, str]
    headers_s: float | None
    chunks: tuple[tuple[float, int], ...]
    """(arrival, number of bytes) of each chunk."""
    body: str
    total_s: float
    error: Mapping[str, str] | None

    @property
    def byte_times_s(self) -> tuple[float, ...]:
        """When bytes of the body arrived."""
        return tuple(arrival for arrival, _ in self.chunks)

    def events(self) -> list[Event]:
        """The events of the body, each with the arrival of the chunk that completed it."""
        decoder, body, start = SseDecoder(), self.body.encode(), 0
        for arrival, length in self.chunks:
            decoder.feed(body[start : start + length], arrival)
            start += length
        return decoder.events


def node_program() -> str:
    """The node on PATH.

    Raises:
        HarnessError: there is none.
    """
    found = shutil.which("node")
    if found is None:
        raise HarnessError(f"node is not on PATH (needed: {OLDEST} or newer)", hint="run `make setup`")
    return found


@contextmanager
def start_fetch(
    appliance: ApplianceAddress, path: str, body: Mapping[str, Any], *, auth: Auth = "bearer"
) -> Iterator[NodeFetch]:
    """POST `body` with Node's fetch in the background; the process ends when the block is left.

    Raises:
        HarnessError: no node.
    """
    job = {
        "url": appliance.named_url + path,
        "lookup": appliance.name_lookup,
        "method": "POST",
        "headers": {"Content-Type": "application/json", **appliance.headers(auth)},
        "body": dict(body),
    }
    process = subprocess.Popen(
        [node_program(), str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # what is read of a pipe before communicate() must not take more than was asked for
        env={"PATH": os.environ.get("PATH", ""), "NODE_EXTRA_CA_CERTS": str(appliance.ca_file)},
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        process.stdin = None  # communicate() must not flush what is closed
        yield NodeFetch(process)
    finally:
        process.kill()
        process.communicate()


class NodeFetch:
    """A fetch under way."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait_until_asked(self, deadline_s: float) -> None:
        """Return once fetch has been called: Node itself may take seconds to start on a busy host.

        Raises:
            HarnessError: not within `deadline_s`, or Node itself failed.
        """
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], deadline_s)
        if not readable:
            raise HarnessError(f"node did not call fetch within {deadline_s:.0f} s")
        if self._process.stdout.readline() != ASKED:
            self.answer(deadline_s)  # says what Node said

    def answer(self, deadline_s: float) -> NodeAnswer:
        """Wait for the end of the answer.

        Raises:
            HarnessError: not within `deadline_s`, or Node itself failed.
        """
        try:
            out, err = self._process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            raise HarnessError(f"node's fetch did not end within {deadline_s:.0f} s") from None
        if self._process.returncode != 0:
            raise HarnessError(
                f"node exited with {self._process.returncode}: {err.decode(errors='replace').strip()[-300:]}",
                hint=f"Node {OLDEST} or newer is needed",
            )
        found = json.loads(out.removeprefix(ASKED))
        return NodeAnswer(
            node=found["node"],
            status=found["status"],
            headers=found["headers"],
            headers_s=found["headers_s"],
            chunks=tuple((arrival, length) for arrival, length in found["chunks"]),
            body=found["body"],
            total_s=found["total_s"],
            error=found["error"],
        )


def fetch(
    appliance: ApplianceAddress,
    path: str,
    body: Mapping[str, Any],
    *,
    auth: Auth = "bearer",
    deadline_s: float = 60.0,
) -> NodeAnswer:
    """POST `body` with Node's fetch and wait for the answer.

    Raises:
        HarnessError: no node, or no end within `deadline_s` seconds.
    """
    with start_fetch(appliance, path, body, auth=auth) as running:
        return running.answer(deadline_s)
