"""Root in the guest over one OpenSSH connection: keys of this run only, every command bounded."""

import math
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from harness.deadline import Deadline, DeadlineExceeded, NotYet, wait_until
from harness.errors import HarnessError
from harness.machine.protocol import CommandResult, HostAddress
from harness.machine.tether import end, start_tethered

HANDSHAKE_S = 60
"""Seconds for a TCP connection, key exchange and login; under TCG the cryptography alone takes one or two."""

_KILL_GRACE_S = 5
_CLIENT_FAULT = re.compile(
    r"^(?:ssh: |kex_exchange|mux_client|client_loop|Control socket"
    r"|Connection (?:closed|reset|refused|timed out)|Timeout, server"
    r"|root@\S+: Permission denied|Host key verification failed|@@@@)",
    re.MULTILINE,
)


class GuestUnreachable(HarnessError):
    """SSH itself failed, so nothing is known about the command."""


class SshAccess:
    """Keys, client configuration and the shared connection to one guest, in `folder` (made here)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        # A socket's path must fit into 108 bytes, and ssh appends 17 while it makes it.
        self.socket_folder = Path(tempfile.mkdtemp(prefix="slm-ssh-", dir=_short_temporary_folder()))
        self._master: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.public_key = _generate_key(folder / "id_ed25519")

    def write_config(self, address: HostAddress) -> None:
        """Point the alias `guest` at `address`. Known host keys stay: a guest must keep its own."""
        config = client_config(address, self.folder, self._control_path)
        if not self.config.exists() or self.config.read_text() != config:
            self.disconnect()
            self.config.write_text(config)

    @property
    def _control_path(self) -> Path:
        return self.socket_folder / "s"

    def run(self, command: str, *, timeout: float = 60, input: bytes | None = None) -> CommandResult:
        """Run `command` with bash as root; see Machine.run. GuestUnreachable when SSH itself fails."""
        deadline = Deadline.after(timeout)
        self._ensure_master(deadline)
        # coreutils' timeout ends the command in the guest; killing the client alone would leave it running.
        seconds = max(1, math.ceil(deadline.remaining))
        bounded = f"timeout -k {_KILL_GRACE_S} {seconds} bash -c {shlex.quote(command)}"
        started = time.monotonic()
        process = subprocess.Popen(
            ["ssh", "-F", str(self.config), "guest", "--", bounded],
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        try:
            stdout, stderr = process.communicate(input, timeout=seconds + _KILL_GRACE_S + 5)
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"command in the guest: {_shortened(command)}", timeout) from None
        finally:
            end(process)
        result = CommandResult(
            command=command,
            exit_status=process.returncode,
            stdout=stdout.decode("utf-8", "replace"),
            stderr=stderr.decode("utf-8", "replace"),
            seconds=time.monotonic() - started,
        )
        if result.exit_status == 255 and (fault := _CLIENT_FAULT.search(result.stderr)):
            self.disconnect()
            line = result.stderr[fault.start() :].splitlines()[0]
            raise GuestUnreachable(f"the guest cannot be reached over SSH: {line}")
        if result.exit_status in (124, 137) and result.seconds >= seconds - 0.5:
            raise DeadlineExceeded(f"command in the guest: {_shortened(command)}", timeout)
        return result

    def disconnect(self) -> None:
        """Drop the shared connection: it would hang, or hide a reboot, once the guest restarts."""
        with self._lock:
            if self._master is not None:
                end(self._master)
                self._master = None
            self._control_path.unlink(missing_ok=True)

    def close(self) -> None:
        self.disconnect()
        shutil.rmtree(self.socket_folder, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ensure_master(self, deadline: Deadline) -> None:
        with self._lock:
            if self._master is not None and self._master.poll() is None:
                return
            self.disconnect()
            if not self.config.exists():
                raise GuestUnreachable("the machine was never started")
            log = self.folder / "master.log"
            with log.open("wb") as stderr:
                self._master = start_tethered(
                    ["ssh", "-F", str(self.config), "-o", "ControlMaster=yes", "-N", "guest"], stderr=stderr
                )
            master = self._master

            def connected(_last_try: bool) -> bool | None:
                if self._control_path.exists():
                    return True
                said = log.read_text(errors="replace").strip().splitlines()
                if master.poll() is not None:
                    reason = said[-1] if said else f"ssh ended with status {master.returncode}"
                    raise GuestUnreachable(f"the guest cannot be reached over SSH: {reason}")
                raise NotYet(said[-1] if said else "no answer")

            try:
                wait_until(
                    connected, deadline.sooner(HANDSHAKE_S), what="SSH login to the guest", interval=0.05
                )
            except BaseException:
                self.disconnect()
                raise


def client_config(address: HostAddress, folder: Path, control_path: Path) -> str:
    """An OpenSSH client configuration for the alias `guest`.

    The first key the guest shows is accepted and any other refused from then on. `ControlMaster no` with a
    ControlPath means: use the shared connection when it is there. Nothing of the user's own files is read.
    """
    options = {
        "HostName": address.host,
        "Port": str(address.port),
        "User": "root",
        "IdentityFile": _quoted(folder / "id_ed25519"),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": _quoted(folder / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "accept-new",
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "ConnectTimeout": str(HANDSHAKE_S),
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "6",
        "ControlMaster": "no",
        "ControlPath": _quoted(control_path),
        "LogLevel": "ERROR",
    }
    return "Host guest\n" + "".join(f"  {name} {value}\n" for name, value in options.items())


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


def _short_temporary_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 40 else "/tmp"  # noqa: S108 - mkdtemp makes the folder safe


def _generate_key(path: Path) -> str:
    if shutil.which("ssh-keygen") is None:
        raise HarnessError("ssh-keygen is not installed", hint="run `make setup`")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "slm-copilot-harness", "-f", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if result.returncode != 0:
        raise HarnessError(f"ssh-keygen could not make a key: {result.stderr.strip()}")
    return path.with_suffix(".pub").read_text().strip()


def _shortened(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
