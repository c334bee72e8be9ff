"""What `make lint` looks at, and that it notices what is broken."""

import subprocess
from pathlib import Path

import pytest

from harness.cli.lint import Complaint, is_shell, parse_yaml, project_files, run
from harness.errors import HarnessError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("/build/\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "made.sh").write_text("")
    (tmp_path / "new file.sh").write_text("echo\n")
    return tmp_path


def test_new_files_count_and_ignored_ones_do_not(checkout: Path) -> None:
    assert project_files(checkout) == [Path(".gitignore"), Path("new file.sh")]


def test_no_checkout_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(HarnessError, match="git can't list the files"):
        project_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "first_line", "expected"),
    [
        ("a.sh", "", True),
        ("run", "#!/usr/bin/env bash", True),
        ("run", "#!/bin/sh -e", True),
        ("run", "#!/usr/bin/env python3", False),
        ("run", "just text about bash", False),
    ],
)
def test_shell_files_are_known_by_name_or_first_line(
    name: str, first_line: str, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(first_line + "\n")
    assert is_shell(tmp_path / name) is expected


def test_broken_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("a: 1\n---\nb: 2\n")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(Complaint, match=r"bad\.yaml") as caught:
        parse_yaml([Path("good.yaml"), Path("bad.yaml")], tmp_path)
    assert "good.yaml" not in str(caught.value)


def test_a_linters_complaint_is_its_output(tmp_path: Path) -> None:
    with pytest.raises(Complaint, match="line 3 is ugly"):
        run(["sh", "-c", "echo line 3 is ugly; exit 1"], tmp_path)
    run(["true"], tmp_path)


def test_a_missing_linter_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no-such-linter is not installed"):
        run(["no-such-linter"], tmp_path)
