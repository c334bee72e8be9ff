"""What the console says is matched in whatever pieces it comes, and the end is noticed at once."""

import re
import threading
import time
from pathlib import Path

import pytest

from harness.deadline import Deadline, DeadlineExceeded
from harness.errors import ApplianceError, HarnessError
from harness.machine.console import FATAL_LINES, READY, Console, FatalLine

BOOT = (
    b"SeaBIOS\r\n\x1b[2J[    0.000000] Linux version 6.1\r\n"
    b"[\x1b[0;32m  OK  \x1b[0m] Started slm-engine.service\r\n"
)


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path / "console.log")


def write(console: Console, data: bytes) -> None:
    with console.path.open("ab") as file:
        file.write(data)


def test_control_sequences_are_taken_out(console: Console) -> None:
    write(console, BOOT)
    assert console.text() == (
        "SeaBIOS\n[    0.000000] Linux version 6.1\n[  OK  ] Started slm-engine.service\n"
    )


def test_a_match_may_span_lines(console: Console) -> None:
    write(console, b"first\r\nsecond\r\n")
    match = console.wait_for_text(r"first\nsec(\w+)", Deadline.after(1))
    assert match[1] == "ond"


def test_pieces_that_cut_characters_and_sequences_are_put_together(console: Console) -> None:
    data = "\x1b[0;32mGrüße\x1b[0m: slm-copilot: ready https://10.0.2.15/v1\r\n".encode()

    def dribble() -> None:
        for index in range(len(data)):
            write(console, data[index : index + 1])
            time.sleep(0.002)

    writer = threading.Thread(target=dribble)
    writer.start()
    try:
        assert console.wait_for_text(READY, Deadline.after(5))["endpoint"] == "https://10.0.2.15/v1"
    finally:
        writer.join()
    assert console.text().startswith("Grüße: slm")


def test_half_a_line_is_not_taken_for_the_whole(console: Console) -> None:
    write(console, b"slm-copilot: ready https://10.0")
    assert READY.search(console.this_boot()) is None
    write(console, b".2.15/v1\r\n")
    assert READY.search(console.this_boot()) is not None


def test_bytes_that_are_no_utf8_do_not_disturb(console: Console) -> None:
    write(console, b"\xff\xfe\x80 noise \xc3\r\nlogin: ")
    assert console.wait_for_text("login: $", Deadline.after(1))
    assert "�" in console.text()


def test_the_last_boots_ready_is_not_this_ones(console: Console) -> None:
    write(console, b"slm-copilot: ready https://a/v1\n")
    console.mark()
    assert console.this_boot() == ""
    with pytest.raises(DeadlineExceeded):
        console.wait_for_text(READY, Deadline.after(0.05))
    write(console, b"slm-copilot: ready https://b/v1\n")
    assert console.wait_for_text(READY, Deadline.after(1))["endpoint"] == "https://b/v1"
    assert "https://a/v1" in console.text()


def test_a_console_that_does_not_exist_yet_is_empty(console: Console) -> None:
    assert (console.text(), console.this_boot(), console.last_lines()) == ("", "", "")
    console.mark()


@pytest.mark.parametrize("fatal", FATAL_LINES, ids=lambda fatal: fatal.meaning)
def test_every_fatal_line_is_recognised_by_its_sample(console: Console, fatal: FatalLine) -> None:
    write(console, BOOT + fatal.sample.encode())
    started = time.monotonic()
    with pytest.raises(ApplianceError, match=re.escape(fatal.meaning)) as caught:
        console.wait_for_text(READY, Deadline.after(30))
    assert time.monotonic() - started < 1
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_an_ordinary_boot_is_not_fatal(console: Console) -> None:
    write(
        console,
        BOOT + b"Run /init as init process\nLoading, please wait...\nReached target emergency.target\n"
        b"Command line: panic=-1 root=UUID=1\n",
    )
    console.raise_if_fatal()


def test_a_failed_stage_is_told_in_the_appliances_words(console: Console) -> None:
    write(console, b"slm-copilot: failed configure: ONEAPP_SLM_THREADS: must be a number: 0 to 1024\r\n")
    with pytest.raises(ApplianceError) as caught:
        console.raise_if_fatal()
    assert str(caught.value) == (
        "the appliance reports that configure failed: ONEAPP_SLM_THREADS: must be a number: 0 to 1024"
    )


def test_a_guest_that_is_gone_ends_the_wait(console: Console) -> None:
    def gone() -> None:
        raise HarnessError("QEMU ended")

    with pytest.raises(HarnessError, match="QEMU ended"):
        console.wait_for_text(READY, Deadline.after(30), alive=gone)


def test_last_lines_skip_empty_ones(console: Console) -> None:
    write(console, b"a\n\nb\n\n  \nc\n")
    assert console.last_lines(2) == "b\nc"
