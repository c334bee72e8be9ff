"""What the harness starts ends with it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine.tether import end, start_tethered

# A process that starts a tethered child, prints its number and waits to be killed.
HARNESS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from harness.machine.tether import start_tethered
print(start_tethered(["sleep", "60"]).pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        # A zombie waiting for init is as dead as it gets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_dies_with_a_killed_harness(how: signal.Signals) -> None:
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", HARNESS, root], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        child = int(harness.stdout.readline())
        assert alive(child)
        harness.send_signal(how)
        harness.wait()
    for _ in range(100):
        if not alive(child):
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child outlived the harness")


def test_end_kills_what_ignores_sigterm() -> None:
    process = start_tethered(["sh", "-c", "trap '' TERM; echo; sleep 60"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert end(process, grace=0.1) == -signal.SIGKILL
    assert end(process) == -signal.SIGKILL


def test_a_missing_program_is_one_line() -> None:
    with pytest.raises(HarnessError, match="no-such-program is not installed"):
        start_tethered(["/nowhere/no-such-program"])
