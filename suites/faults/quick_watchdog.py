"""The watchdog with short limits: the same program, decided within seconds instead of minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output

LIMIT_S = 6
_FOLDER = "/run/systemd/system/slm-watchdog.service.d"


@contextmanager
def quick_watchdog(machine: Machine, *, limit_s: int = LIMIT_S) -> Iterator[None]:
    """Looks every second and gives up after `limit_s`, while the block runs."""
    settings = f"SLM_WATCHDOG_LOOK_S=1 SLM_WATCHDOG_POLL_S=1 SLM_WATCHDOG_LIMIT_S={limit_s}"
    output(
        machine,
        f"mkdir -p {_FOLDER} && printf '[Service]\\nEnvironment={settings}\\n' >{_FOLDER}/quick.conf"
        " && systemctl daemon-reload && systemctl restart slm-watchdog.service",
        timeout=60,
    )
    try:
        yield
    finally:
        output(
            machine,
            f"rm -rf {_FOLDER} && systemctl daemon-reload && systemctl restart slm-watchdog.service",
            timeout=60,
        )
