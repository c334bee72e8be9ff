"""A serving guest with traps: what it says after a context was applied, and what it has become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.machine.cell import context_of
from suites.conformance.guest_facts import output, sections
from suites.hostile.chosen_contexts import with_nul_bytes
from suites.lifecycle.guest_state import GuestState
from suites.lifecycle.living_guest import APPLIED_WITHIN_S, LOOKS, SETTLE, LivingGuest

WATCHED = "/etc /usr/local /root /var/spool /opt/slm-copilot/appliance /opt/slm-copilot/flavor.env"

TOLD = (
    "/etc/motd",
    "/etc/motd.d",
    "/etc/motd.d/slm-copilot",
    "/etc/one-appliance/status",
    "/etc/one-appliance/config",
)
"""Where a failed configure may be told."""

UNWATCHED = " ".join(f"-path {path} -prune -o" for path in TOLD)

LIST = f"""
list() {{
  find {WATCHED} {UNWATCHED} -printf '%p\\t%y\\t%m\\t%u\\t%l\\n' | sort
  find {WATCHED} {UNWATCHED} -type f -print0 | sort -z | xargs -0 sha256sum
}}
"""

TRAPS = f"""
printf '#!/bin/sh\\necho "$0" >>/run/slm-canary-ran\\n' >/usr/local/bin/slm-canary
chmod 0755 /usr/local/bin/slm-canary
{LIST}
list >/run/hostile-before
"""

LOOK = f"""
{LIST}
echo '== status';   cat /etc/one-appliance/status
echo '== motd';     cat /etc/motd
echo '== reason';   cat /etc/motd.d/slm-copilot 2>/dev/null
echo '== report';   awk '/^\\[/ {{ here = $0 == "[status]" }} here' /etc/one-appliance/config
echo '== sections'; grep '^\\[' /etc/one-appliance/config
echo '== log';      tail -n 40 /var/log/one-appliance/configure.log
echo '== executed'; cat /run/slm-canary-ran /etc/pwned 2>/dev/null
rm -f /run/slm-canary-ran
echo '== changed';  list | diff /run/hostile-before - | grep '^[<>]' | head -n 20
echo '== end'
"""


@dataclass(frozen=True)
class Look:
    """The guest after a context: status file, message of the day, the reason below it, the report's [status]
    by key and its section names, configure's last lines, what was executed or changed, and what the console
    said meanwhile."""

    status: str
    motd: str
    reason: str
    report: Mapping[str, str]
    report_sections: tuple[str, ...]
    log: tuple[str, ...]
    executed: str
    changed: str
    said: str


@dataclass(frozen=True)
class WatchedGuest:
    """A guest and the state in which it served before anything hostile came."""

    guest: LivingGuest
    served: GuestState


def set_traps(guest: LivingGuest, served: GuestState) -> WatchedGuest:
    output(guest.machine, TRAPS)
    return WatchedGuest(guest, served)


def apply_context(watched: WatchedGuest, context: Mapping[str, str]) -> Look:
    """Give the running guest a context as OpenNebula would, wait until it was applied, and look."""
    __tracebackhide__ = True
    machine, stretch = watched.guest.machine, watched.guest.stretch
    before = len(machine.console_text())
    files = with_nul_bytes(context_of(machine, context))
    machine.change_context(files)
    seconds = APPLIED_WITHIN_S * stretch
    settle = SETTLE.format(seconds=int(seconds), looks=LOOKS)
    result = machine.run(settle, timeout=seconds + 30, input=files["context.sh"])
    assert result.exit_status == 0, (
        f"it was not applied within {seconds:.0f} s: {result.stderr.strip()[-300:]}"
    )
    part = sections(output(machine, LOOK, timeout=60 * stretch))
    return Look(
        status=part["status"].strip(),
        motd=part["motd"],
        reason=part["reason"].strip(),
        report=dict(line.split("=", 1) for line in part["report"].splitlines() if "=" in line),
        report_sections=tuple(part["sections"].split()),
        log=tuple(part["log"].splitlines()),
        executed=part["executed"],
        changed=part["changed"],
        said=machine.console_text()[before:],
    )
