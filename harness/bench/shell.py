"""Where a measuring command runs: in a guest (`machine.run`) or, with the same call, on the host."""

from __future__ import annotations

import subprocess
import time
from typing import Protocol

from harness.deadline import DeadlineExceeded
from harness.machine.protocol import CommandResult


class Shell(Protocol):
    """Runs a bash command; see Machine.run."""

    def __call__(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult: ...


def run_on_host(command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:
    """Run a bash command on the host; after `timeout` seconds it is killed and DeadlineExceeded raised."""
    started = time.monotonic()
    bounded = ["timeout", "-k", "5", str(timeout), "bash", "-c", command]
    answer = subprocess.run(bounded, input=input or b"", capture_output=True, check=False)
    seconds = time.monotonic() - started
    if answer.returncode in (124, 137) and seconds >= timeout - 0.5:
        raise DeadlineExceeded(f"command on the host: {command.splitlines()[0][:80]}", timeout)
    return CommandResult(
        command=command,
        exit_status=answer.returncode,
        stdout=answer.stdout.decode("utf-8", "replace"),
        stderr=answer.stderr.decode("utf-8", "replace"),
        seconds=seconds,
    )
