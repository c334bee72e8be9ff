"""`service configure` and `service bootstrap` again by hand, after accidents too, end in the same state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from suites.conformance.guest_facts import output
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import GuestState, difference, read_state
from suites.lifecycle.living_guest import LivingGuest, switch_on

AGAIN = "/etc/one-appliance/service configure && /etc/one-appliance/service bootstrap"
"""As net-90 runs them; `service` itself sets umask 0077 and errexit."""
AGAIN_WITHIN_S = 20.0
"""Both stages with nothing to do, stretched for slow accelerators."""

WORKERS = "systemctl show --property=ControlGroup --value nginx.service"
WORKER_PIDS = f'cat "/sys/fs/cgroup/$({WORKERS})/cgroup.procs" 2>/dev/null || pgrep -x nginx'
"""A reload would leave nginx's master and replace these."""

PIPE = "/var/log/one-appliance/one_service_log.pipe"
LOG = "/var/log/one-appliance/bootstrap.log"
STATUS = "/etc/one-appliance/status"
PID_FILE = "/var/run/one-appliance-service.pid"

ACCIDENTS = {
    "nothing": "true",
    "a power cut in bootstrap": f"echo bootstrap_started >{STATUS}; mkfifo {PIPE}; echo 1 >{PID_FILE}",
    "a power cut while the status was written": f": >{STATUS}; echo 999999 >{PID_FILE}",
    "a failure": f"echo configure_failure >{STATUS}",
    "a power cut while files were written": """
        echo configure_started >/etc/one-appliance/status
        touch /etc/nginx/sites-enabled/.slm-copilot.conf.aBcDeF /etc/nginx/slm-copilot/.auth.conf.aBcDeF
        touch /etc/slm-copilot/.engine.env.aBcDeF /etc/slm-copilot/.admin-password.aBcDeF
        mkdir -m 0700 /etc/ssl/slm-copilot/pair.aBcDeF /etc/nginx/.slm-copilot-check.aBcDeF""",
    "somebody changed modes": """
        chmod 0644 /etc/slm-copilot/admin-password /etc/nginx/slm-copilot/auth.conf
        chmod 0600 /etc/ssl/slm-copilot/cert.pem /etc/nginx/sites-enabled/slm-copilot.conf
        chmod 0700 /etc/slm-copilot /etc/ssl/slm-copilot""",
}
"""What was before the stages run again; in bash, in the guest."""

MODES = {
    "/etc/slm-copilot": "0755",
    "/etc/slm-copilot/admin-password": "0600",
    "/etc/slm-copilot/engine.env": "0640",
    "/etc/nginx/slm-copilot": "0755",
    "/etc/nginx/slm-copilot/auth.conf": "0600",
    "/etc/nginx/sites-enabled/slm-copilot.conf": "0644",
    "/etc/ssl/slm-copilot": "0755",
    "/etc/ssl/slm-copilot/current/cert.pem": "0644",
    "/etc/ssl/slm-copilot/current/key.pem": "0600",
    "/etc/one-appliance/config": "0600",
    "/etc/motd": "0644",
}


@dataclass(frozen=True)
class Moment:
    """The guest's state, and the processes of nginx."""

    state: GuestState
    proxy_pids: frozenset[int]


def look(guest: LivingGuest) -> Moment:
    pids = output(guest.machine, WORKER_PIDS).split()
    return Moment(read_state(guest.machine), frozenset(map(int, pids)))


@pytest.fixture(scope="module")
def booted(new_guest: NewGuest) -> Iterator[LivingGuest]:
    """A guest whose boot is over."""
    with new_guest() as guest:
        switch_on(guest)
        output(guest.machine, "systemctl start one-context.service", timeout=60 * guest.stretch)
        yield guest


def unchanged(guest: LivingGuest, before: Moment, but: tuple[str, ...] = ()) -> None:
    """The guest is in the very state it was, and none of its processes was replaced."""
    __tracebackhide__ = True
    now = look(guest)
    changes = difference(before.state, now.state, but=but)
    assert not changes, f"the guest is no longer as it was:\n{changes}"
    assert now.proxy_pids == before.proxy_pids, "nginx was reloaded"


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_the_stages_run_again_end_in_the_state_before(booted: LivingGuest, accident: str) -> None:
    before = look(booted)
    output(booted.machine, ACCIDENTS[accident])
    started = time.monotonic()
    output(booted.machine, AGAIN, timeout=60 * booted.stretch)
    took = time.monotonic() - started
    unchanged(booted, before)
    assert took < AGAIN_WITHIN_S * booted.stretch


def test_modes_are_right_although_the_umask_is_0077(booted: LivingGuest) -> None:
    command = "stat --format='%04a %n' " + " ".join(MODES)
    found = dict(line.split()[::-1] for line in output(booted.machine, command).splitlines())
    assert found == MODES


def test_nobody_keeps_the_lock_of_the_stages(booted: LivingGuest) -> None:
    output(booted.machine, "flock --nonblock --exclusive /etc/one-appliance/service true")


def test_a_second_run_at_the_same_time_changes_nothing(booted: LivingGuest) -> None:
    before = look(booted)
    output(booted.machine, f"({AGAIN}) >/dev/null & ({AGAIN}) >/dev/null; wait; {AGAIN}", timeout=120)
    unchanged(booted, before)


def test_a_stage_ended_by_a_signal_says_so_and_the_next_run_mends_it(booted: LivingGuest) -> None:
    before = look(booted)
    ended = output(
        booted.machine,
        f"""logged=$(stat -c %s {LOG})
        /etc/one-appliance/service bootstrap >/dev/null 2>&1 &
        service=$!
        until [ -p {PIPE} ]; do kill -0 $service || exit 1; done
        until [ "$(stat -c %s {LOG})" -gt "$logged" ]; do kill -0 $service || exit 1; done
        kill -TERM $(cat {PID_FILE})
        wait $service
        echo "$? $(cat {STATUS})"
        ls {PIPE} {PID_FILE} 2>/dev/null || true""",
        timeout=60 * booted.stretch,
    )
    assert ended == "143 bootstrap_failure\n"
    assert "failed bootstrap: interrupted by signal TERM" in booted.machine.console_text()
    output(booted.machine, AGAIN, timeout=60 * booted.stretch)
    # The reason was shown in a file of its folder, which stays, and the report says when it last failed.
    unchanged(booted, before, but=("files./etc/motd.d", "report.status", "files./etc/one-appliance/config"))


def test_every_script_of_the_context_run_again_changes_nothing(booted: LivingGuest) -> None:
    """What a resized disk starts."""
    before = look(booted)
    output(booted.machine, "systemctl start one-context-force.service", timeout=60 * booted.stretch)
    log = output(booted.machine, "journalctl --boot --output=cat --unit=one-context-force.service")
    assert "net-90-service-appliance: Finished with exit code 0" in log
    unchanged(booted, before)
