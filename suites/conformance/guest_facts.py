"""Facts of the guest, each kind gathered by one command because a command costs 0.1 s and more."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from harness.machine.protocol import Machine

UNITS = ("slm-engine.service", "nginx.service", "slm-watchdog.service", "ssh.service")


def output(machine: Machine, command: str, *, timeout: float = 60) -> str:
    """What a command that must succeed prints."""
    result = machine.run(command, timeout=timeout)
    assert result.exit_status == 0, f"{command!r} exited with {result.exit_status}: {result.stderr.strip()}"
    return result.stdout


def unit_properties(machine: Machine, units: Iterable[str] = UNITS) -> dict[str, dict[str, str]]:
    """All properties of the units, as `systemctl show` prints them."""
    names = list(units)
    text = output(machine, "systemctl show --all -- " + " ".join(map(shlex.quote, names)))
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")
    ]
    found = {block["Id"]: block for block in blocks if "Id" in block}
    return {name: found.get(name, {}) for name in names}


@dataclass(frozen=True)
class Listener:
    """A listening socket; `address` is without brackets and scope, `*` stands for every address."""

    protocol: str
    address: str
    port: int
    process: str

    @property
    def is_loopback(self) -> bool:
        """Whether only the guest itself can reach it."""
        return self.address.startswith("127.") or self.address in ("::1", "::ffff:127.0.0.1")


def listeners(machine: Machine) -> list[Listener]:
    """Every listening TCP and bound UDP socket of the guest."""
    found = []
    for line in output(machine, "ss -H -l -t -u -n -p").splitlines():
        fields = line.split()
        address, _, port = fields[4].rpartition(":")
        bare = address.strip("[]").partition("%")[0].strip("[]")
        found.append(Listener(fields[0], bare, int(port), " ".join(fields[6:])))
    return found


@dataclass(frozen=True)
class FileFacts:
    """Mode (four octal digits), owner and group of a file; `kind` is what `stat -c %F` says."""

    mode: str
    owner: str
    group: str
    kind: str
    changed: float


def file_facts(machine: Machine, paths: Iterable[str]) -> dict[str, FileFacts]:
    """Facts of the files that exist (symbolic links followed); absent ones are missing from the result."""
    names = " ".join(map(shlex.quote, paths))
    text = machine.run(f"stat -L --printf '%n\\t%04a\\t%U\\t%G\\t%F\\t%.Y\\n' -- {names}").stdout
    found = {}
    for line in text.splitlines():
        name, mode, owner, group, kind, changed = line.split("\t")
        found[name] = FileFacts(mode, owner, group, kind, float(changed))
    return found


def sections(text: str) -> dict[str, str]:
    """Splits output whose parts are headed by lines `== name`."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("== "):
            current = found.setdefault(line[3:], [])
        else:
            current.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}
