"""run_tool(): what a watched program prints and how it is ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.image.external_tool import run_tool


def test_a_watched_program_is_followed_line_by_line(tmp_path: Path) -> None:
    lines: list[str] = []
    script = "printf 'one\\ntw'; sleep 0.2; printf 'o\\r\\n\\nlast'; echo oops >&2; seq 20000"
    log = tmp_path / "log"
    run_tool(["sh", "-c", script], what="talking", log=log, on_line=lines.append, watch=lambda: None)
    assert lines[:4] == ["one", "two", "", "lastoops"]
    assert lines[4:] == [str(number) for number in range(1, 20001)]
    assert log.read_bytes().startswith(b"one\ntwo\r\n\nlastoops\n1\n")


def test_an_unfinished_last_line_is_a_line(tmp_path: Path) -> None:
    lines: list[str] = []
    run_tool(
        ["printf", "a\\nb"], what="talking", log=tmp_path / "log", on_line=lines.append, watch=lambda: None
    )
    assert lines == ["a", "b"]


def test_what_the_watch_raises_ends_a_silent_program_at_once(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def watch() -> None:
        if pid.exists() and pid.read_text():
            raise HarnessError("seen")

    started = time.monotonic()
    with pytest.raises(HarnessError, match=r"^seen$"):
        run_tool(
            ["sh", "-c", f"echo $$ >{pid}; exec sleep 60"], what="waiting", log=tmp_path / "log", watch=watch
        )
    assert time.monotonic() - started < 5
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_watched_program_that_fails_is_told_as_any_other(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"^trying failed \(sh exited with 3\): no luck$"):
        run_tool(
            ["sh", "-c", "echo no luck; exit 3"], what="trying", log=tmp_path / "log", watch=lambda: None
        )
