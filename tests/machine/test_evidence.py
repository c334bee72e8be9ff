"""Evidence is saved as far as it can be had, and never with a secret in it."""

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.machine import evidence
from harness.machine.protocol import CommandResult
from harness.redaction import Redactor


@pytest.fixture(autouse=True)
def redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor()
    redactor.add("correct-horse", "admin password")
    monkeypatch.setattr(evidence, "REDACTOR", redactor)


def test_every_command_gets_its_file_redacted(tmp_path: Path) -> None:
    def run(command: str, _timeout: float) -> CommandResult:
        return CommandResult(command, 0, f"{command}: correct-horse\n", "", 0.1)

    assert evidence.save_from_guest(run, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(evidence.COMMANDS)
    text = (tmp_path / "journal.log").read_text()
    assert text.endswith(": [redacted: admin password]\n")


def test_one_command_that_fails_does_not_cost_the_others(tmp_path: Path) -> None:
    def run(command: str, _timeout: float) -> CommandResult:
        if command.startswith("journalctl"):
            raise HarnessError("command in the guest: journalctl: not within 30 s")
        return CommandResult(command, 1, "", "cat: no such file\n", 0.1)

    assert evidence.save_from_guest(run, tmp_path)
    assert "not within 30 s" in (tmp_path / "journal.log").read_text()
    assert (tmp_path / "status.txt").read_text() == "cat: no such file\n"


def test_a_guest_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    asked = []

    def run(command: str, _timeout: float) -> CommandResult:
        asked.append(command)
        raise HarnessError("the guest cannot be reached over SSH: refused")

    assert not evidence.save_from_guest(run, tmp_path)
    assert len(asked) == 1
    assert "refused" in (tmp_path / "unreachable.txt").read_text()


def test_logs_are_read_from_the_disk_of_a_dead_guest(tmp_path: Path) -> None:
    root, saved = tmp_path / "root", tmp_path / "saved"
    saved.mkdir()
    for name, text in {
        "var/log/one-appliance/configure.log": "one correct-horse",
        "var/log/one-appliance/install.log": "two",
        "etc/one-appliance/status": "configure_failure",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    evidence.save_from_disk(root, saved)
    assert {path.name for path in saved.iterdir()} == {"one-appliance.log", "status.txt"}
    text = (saved / "one-appliance.log").read_text()
    assert text == "==> configure.log <==\none [redacted: admin password]\n==> install.log <==\ntwo\n"


def test_nothing_on_the_disk_is_no_error(tmp_path: Path) -> None:
    evidence.save_from_disk(tmp_path / "absent", tmp_path)
    assert list(tmp_path.iterdir()) == []
