"""Waiting for the appliance: ready when console and guest agree, over as soon as it cannot come any more."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ApplianceError, HarnessError
from harness.machine import readiness
from harness.machine.console import Console
from harness.machine.protocol import BootTimings, CommandResult, HostAddress
from harness.machine.readiness import ApplianceState, BannerKnock, parse_state, wait_ready

READY_LINE = "slm-copilot: ready https://10.0.2.15/v1\n"
GOOD = (
    "status=bootstrap_success\nreadyz=200\nstarted_us=12500000\n"
    "written=1700000020.5\nnow=1700000030.5\nuptime=40.25\n"
)


@pytest.fixture
def ssh_server() -> Iterator[HostAddress]:
    """Shows a banner to everybody, as sshd does."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"SSH-2.0-fake\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield HostAddress(*server.getsockname())
    server.close()


class Guest:
    """A guest with a console, and answers to the state command in turn (the last one stays)."""

    def __init__(self, folder: Path, address: HostAddress, *answers: str | HarnessError) -> None:
        self.console = Console(folder / "console.log")
        self.address = address
        self.answers = list(answers)
        self.asked = 0
        self.dead: HarnessError | None = None

    def says(self, text: str) -> None:
        with self.console.path.open("a") as file:
            file.write(text)

    def run(self, command: str, _timeout: float) -> CommandResult:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, HarnessError):
            raise answer
        return CommandResult(command, 0, answer, "", 0.1)

    def alive(self) -> None:
        if self.dead:
            raise self.dead

    def wait(self, seconds: float = 5) -> BootTimings:
        return wait_ready(
            self.console,
            powered_on=time.monotonic(),
            ssh_address=lambda: self.address,
            run=self.run,
            alive=self.alive,
            deadline=Deadline.after(seconds),
        )


MakeGuest = Callable[..., Guest]


@pytest.fixture
def guest(tmp_path: Path, ssh_server: HostAddress) -> MakeGuest:
    return lambda *answers: Guest(tmp_path, ssh_server, *(answers or (GOOD,)))


@pytest.mark.timing
def test_console_and_guest_agree(guest: MakeGuest) -> None:
    booting = guest()
    booting.says("booting\n" + READY_LINE)
    timings = booting.wait()
    assert booting.asked == 1
    assert timings.configure_s == 17.75
    assert timings.power_on_to_ready_s is not None
    assert timings.power_on_to_ready_s < 1
    assert timings.power_on_to_ssh_s is not None


def test_no_login_while_the_console_is_being_watched(guest: MakeGuest) -> None:
    booting = guest()
    threading.Timer(0.5, booting.says, [READY_LINE]).start()
    timings = booting.wait()
    assert booting.asked == 1
    assert timings.power_on_to_ready_s == pytest.approx(0.5, abs=0.4)


def test_a_ready_line_alone_is_not_enough(guest: MakeGuest) -> None:
    booting = guest(GOOD.replace("readyz=200", "readyz=503"))
    booting.says(READY_LINE)
    with pytest.raises(
        ApplianceError,
        match=r"not get ready within 2 s; last seen: the console says ready,"
        r" the guest says status bootstrap_success, /readyz 503",
    ) as caught:
        booting.wait(2)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (1, False)


def test_the_status_may_follow_the_ready_line(guest: MakeGuest) -> None:
    booting = guest(GOOD.replace("bootstrap_success", "bootstrap_started"), GOOD)
    booting.says(READY_LINE)
    assert booting.wait().configure_s == 17.75
    assert booting.asked == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "slm-copilot: failed configure: ONEAPP_SLM_THREADS: not a number\n",
            "configure failed: ONEAPP_SLM_THREADS",
        ),
        (
            "[ 1.0] Kernel panic - not syncing: Attempted to kill init!\n",
            "kernel panicked: Attempted",
        ),
        ("(initramfs) ", "dropped to a shell"),
        ("No bootable device.\n", "no bootable device"),
    ],
)
@pytest.mark.timing
def test_a_fatal_line_ends_the_wait_at_once(guest: MakeGuest, text: str, complaint: str) -> None:
    booting = guest()
    booting.says(text)
    started = time.monotonic()
    with pytest.raises(ApplianceError, match=complaint):
        booting.wait(30)
    assert time.monotonic() - started < 1


def test_a_machine_that_ends_ends_the_wait(guest: MakeGuest) -> None:
    booting = guest()
    booting.dead = HarnessError("QEMU ended while the guest was running: killed by SIGKILL")
    with pytest.raises(HarnessError, match="QEMU ended") as caught:
        booting.wait(30)
    assert caught.value.exit_code == 2


def test_a_failed_status_over_ssh_ends_the_wait(guest: MakeGuest) -> None:
    booting = guest(GOOD.replace("bootstrap_success", "bootstrap_failure"))
    booting.says(READY_LINE)
    with pytest.raises(ApplianceError, match="the appliance reports bootstrap_failure"):
        booting.wait(30)


def test_a_guest_that_never_gets_ready_is_one_line_with_what_was_seen(guest: MakeGuest) -> None:
    booting = guest()
    booting.says("Loading initial ramdisk ...\n")
    with pytest.raises(ApplianceError) as caught:
        booting.wait(0.5)
    assert str(caught.value) == (
        "the appliance did not get ready within 0 s; last seen: console: Loading initial ramdisk ..."
    )


def test_ssh_is_asked_where_the_console_is_silent(guest: MakeGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "SSH_QUIET_S", 0.2)
    monkeypatch.setattr(readiness, "SSH_POLL_S", 0.2)
    booting = guest(HarnessError("refused"), GOOD.replace("readyz=200", "readyz=000"), GOOD)
    timings = booting.wait()
    assert timings.power_on_to_ready_s is not None
    assert timings.power_on_to_ready_s >= 0.6


def test_the_last_boots_status_is_not_this_ones(guest: MakeGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "SSH_QUIET_S", 0.1)
    monkeypatch.setattr(readiness, "SSH_POLL_S", 0.2)
    # The disk says bootstrap_success and the engine serves, but the network stage has not begun.
    booting = guest(GOOD.replace("12500000", "0"))
    with pytest.raises(ApplianceError, match="did not get ready within"):
        booting.wait(1)
    assert booting.asked > 1


def test_ssh_that_does_not_answer_is_said_so(guest: MakeGuest) -> None:
    booting = guest(HarnessError("the guest cannot be reached over SSH: refused"))
    booting.says(READY_LINE)
    with pytest.raises(ApplianceError, match="the console says ready, SSH does not answer"):
        booting.wait(1.5)


def test_a_slow_ssh_server_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BannerKnock, "RETRY_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock = BannerKnock(lambda: HostAddress(*server.getsockname()))
        for _ in range(20):
            assert not knock.answered()
            time.sleep(0.005)
        connection, _ = server.accept()
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
        connection.sendall(b"SSH-2.0-slow\r\n")
        time.sleep(0.05)
        assert knock.answered()
        connection.close()


def test_a_port_that_accepts_and_hangs_up_is_no_ssh_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BannerKnock, "RETRY_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock = BannerKnock(lambda: HostAddress(*server.getsockname()))
        for _ in range(3):
            assert not knock.answered()
            server.accept()[0].close()
            time.sleep(0.05)
            assert not knock.answered()
            time.sleep(0.05)
        knock.close()


@pytest.mark.timing
def test_patience_with_a_silent_port_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BannerKnock, "RETRY_S", 0.0)
    monkeypatch.setattr(BannerKnock, "FIRST_PATIENCE_S", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock = BannerKnock(lambda: HostAddress(*server.getsockname()))
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert not knock.answered()
            time.sleep(0.002)
        knock.close()
        server.settimeout(0)
        connections = 0
        while True:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                break
            connections += 1
    assert 2 <= connections <= 6


def test_a_closed_port_is_no_ssh() -> None:
    knock = BannerKnock(lambda: HostAddress("127.0.0.1", 1))
    assert not knock.answered()


@pytest.mark.parametrize(
    ("output", "state"),
    [
        (GOOD, ApplianceState("bootstrap_success", "200", 17.75)),
        ("", ApplianceState("", "", None)),
        (GOOD.replace("12500000", "0"), ApplianceState("bootstrap_success", "200", None)),
        (GOOD.replace("12500000", ""), ApplianceState("bootstrap_success", "200", None)),
        (GOOD.replace("12500000", "99000000"), ApplianceState("bootstrap_success", "200", None)),
    ],
)
def test_the_state_is_read_as_far_as_it_is_there(output: str, state: ApplianceState) -> None:
    assert parse_state(output) == state


def test_the_kernels_own_clock_says_when_it_began(tmp_path: Path, ssh_server: HostAddress) -> None:
    guest = Guest(tmp_path, ssh_server, GOOD)
    guest.says("SeaBIOS\n[    0.000000] Linux version 6.1\n[    1.500000] Run /init\n" + READY_LINE)
    timings = wait_ready(
        guest.console,
        powered_on=time.monotonic() - 10,
        ssh_address=lambda: guest.address,
        run=guest.run,
        alive=guest.alive,
        deadline=Deadline.after(5),
    )
    assert timings.kernel_start_s == pytest.approx(8.5, abs=0.4)


def test_a_container_has_no_kernel_that_began(tmp_path: Path, ssh_server: HostAddress) -> None:
    guest = Guest(tmp_path, ssh_server, GOOD)
    guest.says("Welcome to Debian\n" + READY_LINE)
    assert guest.wait().kernel_start_s is None


def test_the_look_that_came_soonest_after_a_line_tells_best(
    tmp_path: Path, ssh_server: HostAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest(tmp_path, ssh_server, GOOD)
    watch = readiness._Watch(guest.console, 0.0, lambda: ssh_server, guest.run, guest.alive)
    for elapsed, line in ((9.0, "[    1.000000] a\n"), (9.5, "[    3.000000] b\n"), (20.0, "Debian\n")):
        guest.says(line)
        monkeypatch.setattr(watch, "elapsed", lambda at=elapsed: at)
        watch.note_kernel_start()
    assert watch.kernel_start_s == 6.5
    assert watch.clock_lost_s is None
    watch.close()


def test_what_the_kernels_clock_lost_is_told_by_the_lines_since_it_has_a_clock_source(
    tmp_path: Path, ssh_server: HostAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest(tmp_path, ssh_server, GOOD)
    watch = readiness._Watch(guest.console, 0.0, lambda: ssh_server, guest.run, guest.alive)
    looks = (
        (8.1, "[    0.000000] Linux version 6.1\n", None),
        (9.0, "[    0.500000] a\n", None),
        (10.1, "[    0.900000] clocksource: jiffies: mask: 0xffffffff\n", None),
        (10.9, "[    1.000000] clocksource: Switched to clocksource hpet\n", 1.8),
        (11.75, "[    2.000000] b\n", 1.65),
        (13.0, "[    3.000000] c\n", 1.65),
    )
    for elapsed, line, lost in looks:
        guest.says(line)
        monkeypatch.setattr(watch, "elapsed", lambda at=elapsed: at)
        watch.note_kernel_start()
        assert watch.clock_lost_s == lost
    assert watch.kernel_start_s == 8.1
    watch.close()
