"""A child process is streamed, and ended politely first and with force in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness.cli.child import (
    Child,
    descendants,
    end_all,
    end_leftovers,
    end_processes,
    marked_descendants,
)


def child(program: str, lines: list[str]) -> Child:
    return Child(
        [sys.executable, "-u", "-c", program],
        env=dict(os.environ) | {"PYTHONIOENCODING": "utf-8"},
        cwd=Path.cwd(),
        on_line=lines.append,
    )


def wait_for(lines: list[str], text: str) -> None:
    until = time.monotonic() + 20
    while text not in lines and time.monotonic() < until:
        time.sleep(0.01)
    assert text in lines


def test_output_comes_line_by_line_and_the_status_with_it() -> None:
    lines: list[str] = []
    one = child("import sys; print('ä one'); print('two', file=sys.stderr); sys.exit(7)", lines)
    assert one.wait(20) == 7
    assert lines == ["ä one", "two"]


def test_a_running_child_has_no_status() -> None:
    one = child("import time; time.sleep(60)", [])
    assert one.wait(0.05) is None
    assert one.end(polite_s=20) != 0


def test_a_polite_child_gets_its_time_to_clean_up() -> None:
    lines: list[str] = []
    program = (
        "import time\nprint('up')\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        "    time.sleep(0.2); print('cleaned up')\n"
    )
    one = child(program, lines)
    wait_for(lines, "up")
    assert one.end(polite_s=20) == 0
    assert lines[-1] == "cleaned up"


def test_one_ctrl_c_delivered_twice_is_one() -> None:
    lines: list[str] = []
    program = (
        "import time\nprint('up')\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        "    time.sleep(0.6); print('cleaned up')\n"
    )
    one = child(program, lines)
    wait_for(lines, "up")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    again = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    again.start()
    try:
        assert one.end(polite_s=20) == 0
    finally:
        again.join()
        signal.signal(signal.SIGINT, before)
    assert lines[-1] == "cleaned up"


def test_a_child_that_ignores_everything_is_killed_with_its_group() -> None:
    lines: list[str] = []
    program = (
        "import signal, subprocess, sys, time\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, signal.SIG_IGN)\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(p.pid); print('up')\n"
        "time.sleep(60)\n"
    )
    one = child(program, lines)
    wait_for(lines, "up")
    grandchild = int(lines[0])
    assert one.end(polite_s=0.2, stern_s=0.2) == -9
    until = time.monotonic() + 5
    while is_running(grandchild) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(grandchild)


def test_leftovers_are_ended_and_named_and_others_left_alone() -> None:
    keep = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    before = descendants()
    assert keep.pid in before
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    names = end_leftovers(before)
    assert [name for name in names if name.endswith(f"({left.pid})")]
    assert is_running(keep.pid)
    assert not is_running(left.pid)
    keep.kill()
    keep.wait()
    left.wait()


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def test_ending_leftovers_takes_no_childs_exit_status() -> None:
    """Popen would say 0 of it."""
    killed = child("import os; os.kill(os.getpid(), 9)", [])
    until = time.monotonic() + 20
    while is_running(killed.pid) and time.monotonic() < until:
        time.sleep(0.01)
    end_processes({})
    assert killed.wait(5) == -signal.SIGKILL


def test_children_are_ended_together_each_with_its_own_patience() -> None:
    polite: list[str] = []
    stubborn: list[str] = []
    done: list[str] = []
    last_words = "import time\ntry:\n print('up'); time.sleep(60)\nexcept KeyboardInterrupt:\n print('bye')"
    deaf = "import signal, time; signal.signal(2, signal.SIG_IGN); print('up'); time.sleep(60)"
    children = [child(last_words, polite), child(deaf, stubborn), child("print('up')", done)]
    for lines in (polite, stubborn, done):
        wait_for(lines, "up")
    children[2].wait(20)
    started = time.monotonic()
    assert end_all(children, polite_s=0.5) == [0, -signal.SIGTERM, 0]
    assert time.monotonic() - started < 10
    assert polite == ["up", "bye"]


def test_what_a_cell_started_is_known_by_its_mark() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    # In a session of its own, as QEMU is: neither its group nor its parent tell whose it is.
    mine = subprocess.Popen(sleeper, env=os.environ | {"SLM_TEST_MARK": "mine"}, start_new_session=True)
    other = subprocess.Popen(sleeper, env=os.environ | {"SLM_TEST_MARK": "mine-too"}, start_new_session=True)
    try:
        until = time.monotonic() + 10
        while not (found := marked_descendants("SLM_TEST_MARK=mine")) and time.monotonic() < until:
            time.sleep(0.01)
        assert list(found) == [mine.pid]
        assert end_processes(found) == [f"{found[mine.pid]} ({mine.pid})"]
        assert mine.poll() is not None
        assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()
