"""The engine lives, its port is open, and it answers nothing: the watchdog notices and restarts it."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from harness.client.https import ApplianceAddress
from harness.deadline import Deadline, NotYet, wait_until
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, chat, expect_json
from suites.conformance.engine_loopback import engine_can
from suites.conformance.guest_facts import output, unit_properties
from suites.faults.conftest import ReadyAgain
from suites.faults.quick_watchdog import quick_watchdog
from suites.faults.running_stream import CONNECT_S, endless, running_streams

ENGINE = "slm-engine.service"
APPLIANCE = "/opt/slm-copilot/appliance"

STOP_THE_PROCESS = f"systemctl kill --kill-whom=main --signal=STOP {ENGINE}"

# ptrace stops one thread: 0x4206 is PTRACE_SEIZE, 0x4207 PTRACE_INTERRUPT, 0x40000000 __WALL. The main thread
# computes, those that speak HTTP go on. Who traces a process has to collect it when it dies, hence the loop.
# Of an engine of several processes the one that computes has used the most time.
STOP_THE_COMPUTING_THREAD = rf"""
main=$(systemctl show --property MainPID --value {ENGINE})
pid=$(ps --no-headers -o cputimes,pid --pid "$main" --ppid "$main" | sort -rn | awk 'NR == 1 {{ print $2 }}')
setsid perl -e '$pid = shift; syscall(101, 0x4206, $pid + 0, 0, 0) == 0 or die "seize: $!\n";
  syscall(101, 0x4207, $pid + 0, 0, 0) == 0 or die "interrupt: $!\n";
  while (waitpid(-1, 0x40000000) > 0) {{ }}' \
  "$pid" >/dev/null 2>&1 &
sleep 0.3
grep -q 'State:.t' "/proc/$pid/status"
"""

HANGS = {"the whole process": STOP_THE_PROCESS, "the thread that computes": STOP_THE_COMPUTING_THREAD}


@pytest.mark.parametrize("hang", HANGS)
def test_a_hung_engine_is_restarted(
    hang: str,
    machine: Machine,
    appliance: ApplianceAddress,
    stranger: httpx.Client,
    client: httpx.Client,
    ready_again: ReadyAgain,
    stretch: float,
    record_metric: Callable[..., None],
) -> None:
    before = unit_properties(machine, [ENGINE])[ENGINE]
    with quick_watchdog(machine), running_streams(appliance, 1, endless()) as [stream]:
        assert stream.first_event.wait(CONNECT_S * stretch), "no stream to hang"
        output(machine, HANGS[hang])
        hung = time.monotonic()
        wait_until(
            not_ready(stranger), Deadline.after(60 * stretch), what="the watchdog's verdict", interval=0.5
        )
        assert stream.ended.wait(60 * stretch), "its client was left waiting"
        told = time.monotonic() - hung
        ready_again()
        back = time.monotonic() - hung
        said = wait_until(verdict(machine), Deadline.after(20 * stretch), what="its report", interval=0.5)
    after = unit_properties(machine, [ENGINE])[ENGINE]
    name = hang.replace(" ", "_")
    record_metric(f"hang_of_{name}_noticed", "s", told, n=1)
    record_metric(f"hang_of_{name}_healed", "s", back, n=1)
    assert stream.cut, "the client's answer looked whole"
    assert after["MainPID"] != before["MainPID"]
    assert int(after["NRestarts"]) == int(before["NRestarts"]) + 1
    expect_json(client.post(CHAT, json=chat(max_tokens=1)))
    assert "the engine hangs: no completion and no progress" in said


def verdict(machine: Machine) -> Callable[[bool], str | None]:
    """What the watchdog says once it has seen the engine come back; this start of it only."""

    def check(_last_try: bool) -> str | None:
        said = output(
            machine,
            "journalctl _SYSTEMD_INVOCATION_ID="
            "$(systemctl show --property InvocationID --value slm-watchdog.service)",
        )
        if "the engine answers again" in said:
            return said
        raise NotYet(said[-300:])

    return check


def not_ready(stranger: httpx.Client) -> Callable[[bool], bool | None]:
    def check(_last_try: bool) -> bool | None:
        status = stranger.get("/readyz").status_code
        if status == 503:
            return True
        raise NotYet(f"/readyz says {status}")

    return check


def test_the_watchdog_sees_a_working_engine_work(
    machine: Machine, appliance: ApplianceAddress, stretch: float
) -> None:
    """What keeps it from killing an engine that is only busy: its counters move while it computes."""
    look = (
        f"cd {APPLIANCE} && for file in paths failure flavor; do . lib/$file.sh; done"
        " && load_flavor && engine_progress"
    )
    with running_streams(appliance, 1, endless()) as [stream]:
        assert stream.first_event.wait(CONNECT_S * stretch)
        first = output(machine, look)
        seen = len(stream.decoder.events)
        until = time.monotonic() + 30 * stretch
        while len(stream.decoder.events) < seen + 2 and time.monotonic() < until:
            time.sleep(0.1)
        second = output(machine, look)
    assert first.startswith("busy "), first
    assert first != second, "two tokens later the counters say the same"


def test_the_watchdogs_question_costs_no_client_its_cached_prompt(
    machine: Machine, client: httpx.Client
) -> None:
    if not engine_can(machine, "tell_cache"):
        pytest.skip("this engine doesn't tell what came from its cache: nobody can see what was there")
    asked = chat(" ".join(f"word{number}" for number in range(60)), max_tokens=1)
    tokens = expect_json(client.post(CHAT, json=asked))["usage"]["prompt_tokens"]
    ask_it = (
        f"cd {APPLIANCE} && for file in paths failure flavor; do . lib/$file.sh; done"
        " && load_flavor && engine_answers 60"
    )
    output(machine, ask_it, timeout=90)
    usage = expect_json(client.post(CHAT, json=asked))["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cached >= tokens - 4, f"{cached} of {tokens} tokens were still there"
