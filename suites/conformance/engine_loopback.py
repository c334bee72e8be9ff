"""What the engine itself says on the guest's loopback, through its file of the appliance: each engine says it
in its own way, and the suites needn't know which it is."""

from __future__ import annotations

import itertools

from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output

ENGINE_URL = "http://127.0.0.1:8080"

WITH_ENGINE = (
    "set -euo pipefail; cd /opt/slm-copilot/appliance;"
    " for file in paths failure atomic pending units flavor; do . lib/$file.sh; done; load_flavor;"
)
"""Bash for the guest: the engine's functions are there."""

ENGINE_CURL = (
    'curl --noproxy "*" --config <(printf \'header = "Authorization: %s"\\n\' "$(engine_authorization)")'
)
"""Bash for the guest, after WITH_ENGINE: curl with the engine's own key, where it has one."""


AT_REST = 2
"""Hundredths of a second that an idle engine takes in 0.3 s under emulation, at most; one that
computes takes more than ten. An engine whose counters are tokens says itself that it is busy."""


def engine_settings(machine: Machine) -> dict[str, str]:
    """What the running engine works with: address, threads, context_size (all clients), client_context (one
    client), temperature, model (its file)."""
    told = output(machine, f"{WITH_ENGINE} engine_settings", timeout=60)
    return dict(line.split("=", 1) for line in told.splitlines())


def engine_can(machine: Machine, what: str) -> bool:
    """Whether the engine has a capability of appliance/engines/README.md."""
    return output(machine, f"{WITH_ENGINE} engine_can {what} && echo yes || echo no").strip() == "yes"


def work_done(machine: Machine) -> str:
    """Counters that move with every request the engine works on, and hardly while it has none: of an engine
    that tells nothing they are its CPU time."""
    return output(machine, f"{WITH_ENGINE} engine_progress", timeout=60).partition(" ")[2]


def work_between(before: str, after: str) -> int:
    """How far the counters of `work_done` moved, added up."""
    pairs = itertools.zip_longest(map(int, before.split()), map(int, after.split()), fillvalue=0)
    return sum(abs(one - other) for one, other in pairs)


def is_computing(machine: Machine) -> bool:
    """Whether the engine works for anybody now: it says so, or its counters move."""
    look = f"{WITH_ENGINE} engine_progress; sleep 0.3; engine_progress"
    first, second = output(machine, look, timeout=60).splitlines()
    moved = work_between(first.partition(" ")[2], second.partition(" ")[2])
    return second.startswith("busy") or moved > AT_REST


UNTIL_BUSY = f"""
{WITH_ENGINE}
for try in {{1..400}}; do
  case $(engine_progress) in busy*) exit 0 ;; esac
done
exit 1
"""
"""Bash for the guest: waits until the engine works for somebody."""
