"""What a cell's TLS mode needs outside the guest: a private authority, or an ACME server that asks it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.machine.protocol import Machine
    from harness.peers.pebble import Pebble

DOMAIN = "copilot.slm.test"
"""The guest's name in mode letsencrypt. It resolves nowhere but in Pebble's own DNS."""


@dataclass(frozen=True)
class TlsSetting:
    """How a guest is told to get its certificate, and how clients then verify it."""

    context: Mapping[str, str] = field(default_factory=dict)
    """Context variables beside ONEAPP_SLM_TLS_MODE."""
    trust: Path | None = None
    """The PEM file clients trust; None: the guest's own certificate."""
    server_name: str = ""
    """The name clients ask for and verify; empty: the address they connect to."""
    pebble: Pebble | None = None


def prepare_tls(tls_mode: str, machine: Machine, stack: ExitStack, work: Path) -> TlsSetting:
    """Prepare the TLS mode of a machine that is still off.

    What runs on the host runs until `stack` is unwound; its files and logs are in `work` (made when needed).
    Raises HarnessError.
    """
    match tls_mode:
        case "custom":
            return _custom(machine, work)
        case "letsencrypt":
            return _letsencrypt(machine, stack, work)
    return TlsSetting()


def _custom(machine: Machine, work: Path) -> TlsSetting:
    from harness.machine.cell import HOSTNAME
    from harness.peers.private_ca import custom_context

    addresses = dict.fromkeys(("127.0.0.1", "::1", machine.guest_address))
    context, root = custom_context((HOSTNAME, "localhost"), tuple(addresses))
    return TlsSetting(context, trust=_written(work / "private-root.pem", root.decode()))


def _letsencrypt(machine: Machine, stack: ExitStack, work: Path) -> TlsSetting:
    from harness.peers.pebble import open_pebble

    pebble = stack.enter_context(open_pebble(machine, work / "pebble"))
    root = _written(work / "acme-root.pem", pebble.root_pem())
    return TlsSetting(pebble.context(DOMAIN), trust=root, server_name=DOMAIN, pebble=pebble)


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")
    return path
