"""`slm shell`: boot a cell and log in."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import terminal
from harness.cell.session import READY_WITHIN_S, work_folder
from harness.cli.test_image import TestImageRequest, get_image
from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.profiles import find_profile


@dataclass(frozen=True)
class ShellRequest:
    """What `slm shell` was asked for."""

    image: Path | None = None
    flavor: str = "ci"
    base: str = ""
    engine: str = ""
    profile: str = "ci"
    tls_mode: str = "selfsigned"
    machine: str = "qemu"
    accelerator: str = "auto"


def run(request: ShellRequest) -> int:
    """Boot, log in as root over SSH, and when that shell ends leave nothing behind.

    A guest that does not get ready is still worth a look: the shell opens when SSH answers. Returns the exit
    status of the session.
    """
    from harness.cell.tls_setting import prepare_tls
    from harness.machine.boot import boot
    from harness.machine.cell import CellRequest, context_of, open_machine

    profile = find_profile(request.profile)
    image = get_image(
        TestImageRequest(
            image=request.image,
            flavor=request.flavor,
            base=request.base,
            engine=request.engine,
            accelerator=request.accelerator,
        )
    )
    cell = CellRequest(
        profile=profile,
        tls_mode=request.tls_mode,
        machine=request.machine,
        image=image.path,
        context={"ONEAPP_SLM_TLS_MODE": request.tls_mode},
        accelerator=request.accelerator,
        work=work_folder(),
    )
    with tempfile.TemporaryDirectory(prefix="slm-shell-") as folder, ExitStack() as stack:
        machine = stack.enter_context(open_machine(cell))
        tls = prepare_tls(request.tls_mode, machine, stack, Path(folder))
        machine.insert_context(context_of(machine, {**cell.context, **tls.context}))
        try:
            with terminal.step(f"Boot {request.machine} with profile {profile.name}") as step:
                step.waiting_for("the appliance to be ready")
                boot(machine, Deadline.after(READY_WITHIN_S * stretch(request)))
        except HarnessError as error:
            if error.exit_code != 1:  # the host's fault: there is no guest to look at
                raise
            terminal.complain(error.message, error.hint)
        for port, name in ((443, "https"), (80, "http")):
            address = machine.forward(port)
            terminal.say(f"{name}://{address.host}:{address.port}")
        if tls.server_name:
            terminal.say(
                f"the certificate is for {tls.server_name}; its ACME server runs until the shell ends"
            )
        terminal.say("the password: grep ^password /etc/one-appliance/config; leave with exit or Ctrl-D")
        return log_in(machine.ssh_config())


def stretch(request: ShellRequest) -> float:
    """The factor by which time limits grow on this request's machine."""
    if request.machine != "qemu":
        return 1.0
    from harness.machine.accelerator import choose_accelerator

    return float(choose_accelerator(request.accelerator).stretch)


def log_in(ssh_config: Path) -> int:
    """An SSH session on our own terminal; returns its exit status."""
    terminal_wanted = ["-t"] if sys.stdin.isatty() else []
    with _ctrl_c_is_for_the_guest():
        return subprocess.run(
            ["ssh", *terminal_wanted, "-F", str(ssh_config), "guest"], check=False
        ).returncode


@contextmanager
def _ctrl_c_is_for_the_guest() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
