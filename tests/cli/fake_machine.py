"""A pytest plugin that lends the cell a machine of cardboard; FAKE_MACHINE says how it behaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ApplianceError, HarnessError
from harness.machine.protocol import BootTimings, CommandResult, HostAddress

PASSWORD = "Sesame0pen0Sesame0pen0Sesame0pen"

REPORT = f"""[connection]
endpoint = https://10.0.2.15/v1
username = admin
password = {PASSWORD}
model = smollm2-135m-instruct
"""

ANSWERS = {
    "cat /opt/slm-copilot/flavor.env": "SLM_FLAVOR=ci\nSLM_MODEL_NAME='Small model'\n",
    "cat /etc/one-appliance/config": REPORT,
    "cat /etc/ssl/slm-copilot/cert.pem": "no real certificate\n",
}

# Without the modules of the environment, which a process that only sleeps need not read.
SLEEPING_PYTHON = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"]


class CardboardMachine:
    """Answers from a table; `start` starts a real process, so that a test can see whether it is ended."""

    kind = "nspawn"
    accelerator = "native"
    guest_address = "10.0.2.15"

    def __init__(self, behaviour: str, work: Path) -> None:
        self._behaviour = behaviour
        self._work = work
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._behaviour == "host_fails":
            raise HarnessError("no accelerator is usable", hint="use ACCELERATOR=auto")
        # The guest: a process in a session of its own, as QEMU is.
        self._process = subprocess.Popen(
            [*SLEEPING_PYTHON, os.environ.get("FAKE_MARK", "")],
            start_new_session=True,
        )

    def wait_ready(self, deadline: Deadline) -> BootTimings:  # noqa: ARG002
        if self._behaviour == "guest_fails":
            raise ApplianceError("slm-engine.service failed: out of memory", hint="see the journal")
        return BootTimings(power_on_to_ssh_s=1.5, power_on_to_ready_s=2.5, configure_s=0.5)

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:  # noqa: ARG002
        answer = ANSWERS.get(command)
        return CommandResult(command, 0 if answer is not None else 1, answer or "", "", 0.0)

    def forward(self, guest_port: int) -> HostAddress:
        return HostAddress("127.0.0.1", 20000 + guest_port)

    def boot_id(self) -> str:
        return "one"

    def console_text(self) -> str:
        return "slm-copilot: ready https://10.0.2.15/v1\n"

    def ssh_config(self) -> Path:
        return self._work / "ssh_config"

    def save_evidence(self, folder: Path) -> None:
        text = f"the guest said {PASSWORD}\n" if self._behaviour == "leaks" else self.console_text()
        (folder / "console.log").write_text(text)

    def stop(self, timeout: float = 60) -> None:  # noqa: ARG002
        self.close()

    def power_cut(self) -> None:
        self.close()

    def reset(self) -> None:
        return

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.hookimpl(optionalhook=True)
def pytest_open_machine(request: object) -> AbstractContextManager[object] | None:
    """Take the place of QEMU."""
    return _opened(CardboardMachine(os.environ.get("FAKE_MACHINE", "ok"), Path(request.work)))  # type: ignore[attr-defined]


@contextmanager
def _opened(machine: CardboardMachine) -> Iterator[CardboardMachine]:
    try:
        yield machine
    finally:
        machine.close()
