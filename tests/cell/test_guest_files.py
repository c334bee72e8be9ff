"""Files of the guest as the cell reads them, and the look for secrets in what it wrote."""

from pathlib import Path

import pytest

from harness.cell.address import parse_report
from harness.cell.leaks import check_files, files_with_secrets
from harness.cell.session import parse_env
from harness.errors import HarnessError
from harness.redaction import REDACTOR, Redactor


def test_the_report_is_parsed_and_its_password_masked_from_then_on() -> None:
    report = parse_report(
        "[connection]\nusername = admin\npassword = Tr0ub4dor%(x)s#1\n\n[engine]\nname = e\n"
    )
    assert report["connection"]["password"] == "Tr0ub4dor%(x)s#1"
    assert report["engine"] == {"name": "e"}
    assert REDACTOR.redact("it is Tr0ub4dor%(x)s#1") == "it is [redacted: admin password]"


def test_a_broken_report_is_the_guests_fault_and_not_shown() -> None:
    with pytest.raises(HarnessError, match="is no INI file") as caught:
        parse_report("password = Secret99Secret99\n")
    assert caught.value.exit_code == 1
    assert "Secret99" not in str(caught.value)


def test_shell_variables() -> None:
    text = "# comment\nA=1\nB='two words'\nC=\"x=y\"\nbroken 'quote\n\nD=\n"
    assert parse_env(text) == {"A": "1", "B": "two words", "C": "x=y", "D": ""}


def test_secrets_in_files_are_found_in_any_form(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("OpenSesame42", "password")
    (tmp_path / "logs").mkdir()
    (tmp_path / "clean.log").write_text("nothing here")
    (tmp_path / "logs" / "plain.log").write_bytes(b"\xff\x00 OpenSesame42 \xfe")
    (tmp_path / "basic.log").write_text("Authorization: Basic YWRtaW46T3BlblNlc2FtZTQy")
    (tmp_path / "link").symlink_to("basic.log")
    found = files_with_secrets(tmp_path, redactor)
    assert [path.name for path in found] == ["basic.log", "plain.log"]
    check = check_files(tmp_path, 0.1, found)
    assert check.status == "failed"
    assert check.message == "a secret stood in: basic.log, logs/plain.log (masked now)"
    assert check_files(tmp_path, 0.1, []).status == "passed"
