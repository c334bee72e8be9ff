"""Steps on the terminal: what is printed where no line can be redrawn, and that nothing secret is."""

import io
import re
import sys
import time
from contextlib import ExitStack

import pytest

from harness import terminal
from harness.redaction import REDACTOR
from harness.terminal import complain, format_seconds, relay, say, step


def lines(captured: pytest.CaptureFixture[str]) -> list[str]:
    return [re.sub(r"\d+\.\d s", "N s", line) for line in captured.readouterr().out.splitlines()]


def test_a_step_tells_its_start_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with step("Build base disk"):
        pass
    assert lines(capsys) == ["▸ Build base disk", "✓ Build base disk (N s)"]


def test_steps_nest_and_notes_belong_to_their_step(capsys: pytest.CaptureFixture[str]) -> None:
    with step("Outer") as outer:
        with step("Inner") as inner:
            inner.note("two\nlines")
        outer.note("after")
    assert lines(capsys) == [
        "▸ Outer",
        "  ▸ Inner",
        "    two",
        "    lines",
        "  ✓ Inner (N s)",
        "  after",
        "✓ Outer (N s)",
    ]


def test_only_the_innermost_step_tells_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no space"), step("Outer"), step("Inner"):
        raise ValueError("no space\nmore")
    assert lines(capsys)[-2:] == ["  ✗ Inner (N s): no space", "✗ Outer (N s)"]


def test_an_interrupted_step_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), step("Long"):
        raise KeyboardInterrupt
    assert lines(capsys)[-1] == "✗ Long (N s): interrupted"


def test_a_failure_without_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    with step("Cell") as one:
        one.failed("1 check failed")
    assert lines(capsys)[-1] == "✗ Cell (N s): 1 check failed"


def test_a_long_step_says_what_it_waits_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "STILL_EVERY_S", 0.05)
    with step("Download") as one:
        one.waiting_for("the server")
        one.progress(3, 10)
        time.sleep(0.2)
    printed = lines(capsys)
    assert "  still Download: N s, 30%, waiting for the server" in printed
    assert printed[-1] == "✓ Download (N s)"


def test_steps_beside_each_other_end_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    with step("All"), ExitStack() as long:
        first = long.enter_context(step("First", beside=True))
        with step("Second", beside=True):
            relay("said", "second │ ")
        first.note("after")
    assert lines(capsys) == [
        "▸ All",
        "  ▸ First",
        "  ▸ Second",
        "second │ said",
        "  ✓ Second (N s)",
        "    after",
        "  ✓ First (N s)",
        "✓ All (N s)",
    ]


def test_each_step_beside_another_says_what_it_waits_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "STILL_EVERY_S", 0.05)
    with step("First", beside=True) as first, step("Second", beside=True):
        first.waiting_for("its machine")
        time.sleep(0.2)
    printed = lines(capsys)
    assert "  still First: N s, waiting for its machine" in printed
    assert "  still Second: N s" in printed


def test_nothing_is_said_after_the_last_step_has_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "STILL_EVERY_S", 0.02)
    with step("Short"):
        pass
    capsys.readouterr()
    time.sleep(0.1)
    assert lines(capsys) == []


def test_secrets_are_masked_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    REDACTOR.add("OpenSesame42", "test password")
    with step("Log in with OpenSesame42") as one:
        one.note("note OpenSesame42")
        one.failed("failed OpenSesame42")
    say("said OpenSesame42")
    relay("\x1b[31mrelayed OpenSesame42\x1b[0m")
    complain("complained OpenSesame42", "hinted OpenSesame42")
    printed = capsys.readouterr()
    assert "OpenSesame42" not in printed.out + printed.err
    assert printed.out.count("[redacted: test password]") == 6
    assert printed.err.count("[redacted: test password]") == 2


def test_complaints_are_one_line_each_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no image\nat all", "build one")
    printed = capsys.readouterr()
    assert printed.err == "error: no image at all\nhint: build one\n"
    assert printed.out == ""


def test_brackets_in_texts_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say("test_x[red] [/nothing]")
    assert capsys.readouterr().out == "test_x[red] [/nothing]\n"


def test_a_terminal_without_unicode_gets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    with step("Bäckerei"):
        pass
    ascii_only.flush()
    assert ascii_only.buffer.getvalue().startswith(b"> B?ckerei\nok B?ckerei (")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (12.34, "12.3 s"),
        (99.9, "99.9 s"),
        (99.96, "1 min 40 s"),
        (245.4, "4 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
