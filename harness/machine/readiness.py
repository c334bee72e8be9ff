"""Waiting for the appliance: cheap looks at the console while it boots, SSH once to confirm."""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.deadline import Deadline, DeadlineExceeded, NotYet, wait_until
from harness.errors import ApplianceError, HarnessError
from harness.machine.console import READY, Console
from harness.machine.protocol import BootTimings, CommandResult, HostAddress

SSH_QUIET_S = 30
"""Seconds after SSH's first answer before anybody logs in: the console usually says ready before that, and a
login would take from the guest, under TCG, what it needs to get ready."""

SSH_POLL_S = 10
"""How often SSH is asked from then on, where the console stays silent about the appliance."""

CONFIRM_S = 60
"""Seconds after its "ready" line within which the appliance has to agree over SSH."""

KERNEL_STAMP = re.compile(r"^\[ *(\d+\.\d{6})\] ", re.MULTILINE)
"""Begins each line of the kernel's on the console: seconds since it began."""

CLOCK_SOURCE = re.compile(r"^\[ *(\d+\.\d{6})\] clocksource: Switched to clocksource ", re.MULTILINE)
"""From then on the kernel reads its time off a counter. Before, it counts ticks: those that a busy host or an
emulator was late with are lost, seconds of them under TCG."""

_STATE_COMMAND = r"""
status=$(cat /etc/one-appliance/status 2>/dev/null)
if [ "$status" = bootstrap_success ]; then
    # The first name of the certificate: not every TLS mode's holds for localhost.
    name=$(sed -n 's/^names=[A-Z]*:\([^,]*\).*/\1/p' /etc/one-appliance/config)
    code=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 20 \
        --cacert /etc/ssl/slm-copilot/cert.pem --connect-to ::127.0.0.1:443 \
        "https://$name/readyz" 2>/dev/null)
fi
started=$(systemctl show one-context.service --property=ExecMainStartTimestampMonotonic --value 2>/dev/null)
written=$(date +%s.%N --reference=/etc/one-appliance/status 2>/dev/null)
echo "status=$status"
echo "readyz=$code"
echo "started_us=$started"
echo "written=$written"
echo "now=$(date +%s.%N)"
echo "uptime=$(cut -d' ' -f1 /proc/uptime)"
"""


@dataclass(frozen=True)
class ApplianceState:
    """What the guest says of itself over SSH.

    `configure_s` is how long after the start of the network stage the status was written; None when that did
    not happen in this boot, or is not known.
    """

    status: str
    readyz: str
    configure_s: float | None

    @property
    def ready(self) -> bool:
        return self.status == "bootstrap_success" and self.readyz == "200"

    @property
    def failed(self) -> bool:
        return self.status.endswith("_failure")

    def __str__(self) -> str:
        answer = "no answer" if self.readyz in ("", "000") else self.readyz
        return f"status {self.status or 'absent'}, /readyz {answer}"


Run = Callable[[str, float], CommandResult]
"""Runs a command in the guest: (command, timeout in seconds)."""


def wait_ready(
    console: Console,
    *,
    powered_on: float,
    ssh_address: Callable[[], HostAddress],
    run: Run,
    alive: Callable[[], None],
    deadline: Deadline,
) -> BootTimings:
    """Wait for `slm-copilot: ready` on the console, then for status file and /readyz to agree over SSH.

    `powered_on` is the monotonic time of the guest's first instruction; `alive` raises when the guest is
    gone. Raises ApplianceError in one line, at once for a fatal line on the console or a failed stage.
    """
    watch = _Watch(console, powered_on, ssh_address, run, alive)
    try:
        wait_until(watch.look, deadline, what="appliance ready", interval=0.1)
        state = wait_until(watch.confirm, deadline.sooner(CONFIRM_S), what="appliance ready", interval=1)
    except DeadlineExceeded as late:
        seen = late.seen or watch.seen
        raise ApplianceError(
            f"the appliance did not get ready within {deadline.seconds:.0f} s; last seen: {seen}",
            hint="the console log and the journal are with the evidence",
        ) from None
    finally:
        watch.close()
    return BootTimings(
        power_on_to_ssh_s=watch.ssh_s,
        power_on_to_ready_s=watch.ready_s,
        configure_s=state.configure_s,
        kernel_start_s=watch.kernel_start_s,
        clock_lost_s=watch.clock_lost_s,
    )


class _Watch:
    """What has been seen of one boot so far."""

    def __init__(
        self,
        console: Console,
        powered_on: float,
        ssh_address: Callable[[], HostAddress],
        run: Run,
        alive: Callable[[], None],
    ) -> None:
        self.console = console
        self.powered_on = powered_on
        self.ssh_address = ssh_address
        self.run = run
        self.alive = alive
        self.ssh_s: float | None = None
        self.ready_s: float | None = None
        self.kernel_start_s: float | None = None
        self._clock_zero_s: float | None = None
        self.seen = ""
        self._knock = BannerKnock(ssh_address)
        self._next_poll = float("inf")

    def look(self, _last_try: bool) -> bool | None:
        """True once the console (or, where that is silent, SSH) says that the appliance is ready."""
        self.note_kernel_start()
        if READY.search(self.console.this_boot()):
            self.ready_s = self.elapsed()
            return True
        self.console.raise_if_fatal()
        self.alive()
        self.knock()
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + SSH_POLL_S
            state = self.state()
            # Until the stages run, the status is the last boot's, and its engine may serve already.
            if state is not None and state.ready and state.configure_s is not None:
                self.ready_s = self.elapsed()
                return True
        lines = self.console.last_lines(1)
        console = f"console: {lines[-160:]}" if lines else "nothing on the console"
        raise NotYet(f"{self.seen}; {console}" if self.seen else console)

    def confirm(self, _last_try: bool) -> ApplianceState | None:
        """The state once it agrees with the console; raises as soon as a stage says that it failed."""
        self.alive()
        self.knock()
        state = self.state()
        if state is None:
            raise NotYet("the console says ready, SSH does not answer")
        if not state.ready:
            raise NotYet(f"the console says ready, the guest says {state}")
        return state

    def state(self) -> ApplianceState | None:
        try:
            state = parse_state(self.run(_STATE_COMMAND, 30).stdout)
        except HarnessError as error:
            self.seen = str(error)
            return None
        self.seen = str(state)
        # A login is an answer too, where the guest was ready before anybody knocked.
        self.ssh_s = self.ssh_s or self.elapsed()
        if state.failed:
            raise ApplianceError(
                f"the appliance reports {state.status}", hint="see the logs with the evidence"
            )
        return state

    def note_kernel_start(self) -> None:
        """A line with the kernel's time on it can't have been printed before that time: the look that came
        soonest after one tells best when the kernel began, and that of the lines since it has a clock source
        what its clock takes for its beginning."""
        text = self.console.this_boot()
        stamps = KERNEL_STAMP.findall(text)
        if not stamps:
            return
        began = round(self.elapsed() - float(stamps[-1]), 3)
        self.kernel_start_s = _lesser(self.kernel_start_s, began)
        switched = CLOCK_SOURCE.search(text)
        if switched is not None and float(stamps[-1]) >= float(switched[1]):
            self._clock_zero_s = _lesser(self._clock_zero_s, began)

    @property
    def clock_lost_s(self) -> float | None:
        """Seconds that the kernel's clock lacks, as exact as the looks are close; None where no line of the
        kernel's tells."""
        if self.kernel_start_s is None or self._clock_zero_s is None:
            return None
        return round(self._clock_zero_s - self.kernel_start_s, 3)

    def knock(self) -> None:
        """Note when SSH first answers."""
        if self.ssh_s is None and self._knock.answered():
            self.ssh_s = self.elapsed()
            self._next_poll = time.monotonic() + SSH_QUIET_S

    def close(self) -> None:
        self._knock.close()

    def elapsed(self) -> float:
        return round(time.monotonic() - self.powered_on, 3)


class BannerKnock:
    """Finds out without waiting when an SSH server first talks: one connection at a time, no login.

    slirp accepts connections long before the guest does, so only the banner counts. A connection gets more
    patience each time: every one that is given up costs a slow guest a process.
    """

    RETRY_S = 1.0
    FIRST_PATIENCE_S = 2.0
    LONGEST_PATIENCE_S = 30.0

    def __init__(self, address: Callable[[], HostAddress]) -> None:
        self._address = address
        self._connection: socket.socket | None = None
        self._patience = self.FIRST_PATIENCE_S
        self._next = 0.0
        self._give_up = 0.0

    def answered(self) -> bool:
        """Look once; True when the server has shown its banner."""
        now = time.monotonic()
        if self._connection is None:
            if now < self._next:
                return False
            self._connect(now)
        assert self._connection is not None
        try:
            greeting = self._connection.recv(4)
        except BlockingIOError:
            if now >= self._give_up:
                self._patience = min(2 * self._patience, self.LONGEST_PATIENCE_S)
                self._close(now)
            return False
        except OSError:
            greeting = b""
        self._close(now)
        return greeting == b"SSH-"

    def close(self) -> None:
        self._close(time.monotonic())

    def _connect(self, now: float) -> None:
        address = self._address()
        self._connection = socket.socket()
        self._connection.setblocking(False)
        self._connection.connect_ex((address.host, address.port))
        self._give_up = now + self._patience

    def _close(self, now: float) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._next = now + self.RETRY_S


def _lesser(known: float | None, new: float) -> float:
    return new if known is None else min(known, new)


def parse_state(output: str) -> ApplianceState:
    """Read the answer of the state command."""
    facts = dict(re.findall(r"^(\w+)=(.*)$", output, re.MULTILINE))
    try:
        # Both times on the guest's monotonic clock: its wall clock may be set while it boots.
        written = float(facts["uptime"]) - (float(facts["now"]) - float(facts["written"]))
        started = float(facts["started_us"]) / 1e6
        configure_s = round(written - started, 3) if 0 < started < written else None
    except (KeyError, ValueError):
        configure_s = None
    return ApplianceState(facts.get("status", "").strip(), facts.get("readyz", "").strip(), configure_s)
