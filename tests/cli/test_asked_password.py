"""The password comes from a file nobody else can read or is typed, and reaches the test process by a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import handed_secret
from harness.cli import asked_password
from harness.cli.asked_password import read_password
from harness.errors import HarnessError
from harness.handed_secret import handed_over, take_over
from harness.redaction import Redactor

PASSWORD = "Sesame0pen-Sesame0pen"


@pytest.fixture(autouse=True)
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """One of the test's own: what is masked once stays masked in this process."""
    own = Redactor()
    monkeypatch.setattr(asked_password, "REDACTOR", own)
    monkeypatch.setattr(handed_secret, "REDACTOR", own)
    return own


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "password"
    path.touch(mode=0o600)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def complaint(path: Path | None) -> str:
    with pytest.raises(HarnessError) as raised:
        read_password(path)
    assert raised.value.exit_code == 2
    assert PASSWORD not in f"{raised.value.message}{raised.value.hint}"
    return raised.value.message


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_file_holds_the_password_and_nothing_else(tmp_path: Path, end: str, redactor: Redactor) -> None:
    assert read_password(written(tmp_path, PASSWORD + end)) == PASSWORD
    assert PASSWORD not in redactor.redact(f"it is {PASSWORD}")


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666, 0o602, 0o620, 0o601])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    assert f"(mode {mode:04o})" in complaint(written(tmp_path, PASSWORD, mode))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "has 0 lines"),
        ("\n", "the password is empty"),
        (f"{PASSWORD}\n{PASSWORD}\n", "has 2 lines"),
        (f"{PASSWORD} \n", "characters that no password"),
        (f"{PASSWORD}\x00", "characters that no password"),
        (f"Bearer\t{PASSWORD}", "characters that no password"),
        ("pässwort-pässwort", "characters that no password"),
        (b"\xff\xfe" * 8, "is no text"),
        ("x" * 5000, "too large"),
        ("abc", "shorter than any"),
    ],
)
def test_what_is_no_password_is_refused(tmp_path: Path, content: str | bytes, told: str) -> None:
    assert told in complaint(written(tmp_path, content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "can't read" in complaint(tmp_path / "none")
    assert "is no file" in complaint(tmp_path)


def test_somebody_elses_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, PASSWORD)
    if path.stat().st_uid == 0:
        os.chown(path, 12345, 12345)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert "belongs to another user" in complaint(path)


def test_it_is_asked_for_where_somebody_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(asked_password.getpass, "getpass", lambda _prompt: PASSWORD)
    assert read_password(None) == PASSWORD


def test_nobody_is_asked_where_nobody_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert "nobody to ask" in complaint(None)


READ_IT = """
import os, sys
descriptor = int(sys.argv[1])
with os.fdopen(descriptor) as pipe:
    print(len(pipe.read()), "in arguments:", sys.argv[2] in " ".join(sys.argv[:2]))
print("again:", os.path.exists(f"/proc/self/fd/{descriptor}"))
"""


def test_a_child_gets_it_by_a_pipe_that_can_be_read_once() -> None:
    with handed_over(PASSWORD) as descriptor:
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", READ_IT, str(descriptor), PASSWORD],
            pass_fds=(descriptor,),
            capture_output=True,
            text=True,
            check=True,
        )
        assert child.stdout == f"{len(PASSWORD)} in arguments: False\nagain: False\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_was_handed_over_is_masked_and_its_pipe_closed(redactor: Redactor) -> None:
    with handed_over(PASSWORD) as descriptor:
        assert take_over(os.dup(descriptor), "admin password") == PASSWORD
        assert redactor.redact(PASSWORD) == "[redacted: admin password]"
        with pytest.raises(HarnessError, match="the pipe is empty"):
            take_over(os.dup(descriptor), "admin password")


def test_a_descriptor_that_is_none_is_told() -> None:
    with pytest.raises(HarnessError, match="no secret was handed over"):
        take_over(987, "admin password")
