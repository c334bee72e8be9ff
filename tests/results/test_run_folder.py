"""Run folders and the link to the newest."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.results.folder import (
    files_of,
    kept_unless_interrupted,
    new_run_folder,
    point_latest_at,
    reports_root,
)

NOW = datetime(2026, 1, 31, 9, 45, tzinfo=UTC)


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path) -> None:
    names = [new_run_folder(tmp_path / "reports", NOW).name for _ in range(3)]
    assert names == ["20260131T094500Z", "20260131T094500Z-2", "20260131T094500Z-3"]


def test_latest_moves_to_the_newest_run(tmp_path: Path) -> None:
    first, second = new_run_folder(tmp_path, NOW), new_run_folder(tmp_path, NOW)
    point_latest_at(first)
    latest = point_latest_at(second)
    assert latest.is_symlink()
    assert str(latest.readlink()) == second.name  # relative: the folder may be moved or served
    assert latest.resolve() == second.resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name, "latest"]


def test_a_real_folder_called_latest_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(HarnessError, match="in the way"):
        point_latest_at(new_run_folder(tmp_path, NOW))


def test_a_root_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="can't make a report folder"):
        new_run_folder(tmp_path / "file" / "reports")


def test_reports_can_be_put_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_REPORTS", str(tmp_path / "r"))
    assert reports_root() == tmp_path / "r"
    monkeypatch.delenv("SLM_REPORTS")
    assert reports_root().name == "reports"


def test_files_are_listed_without_empty_ones_and_links(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "ci"
    (cell / "nginx").mkdir(parents=True)
    (cell / "console.log").write_text("x")
    (cell / "nginx" / "error.log").write_text("x")
    (cell / "empty").write_text("")
    (cell / "link").symlink_to("console.log")
    assert files_of(cell, tmp_path) == ("cells/ci/console.log", "cells/ci/nginx/error.log")
    assert files_of(tmp_path / "nothing", tmp_path) == ()


def test_an_interrupted_measurement_leaves_no_folder_and_a_failed_one_does(tmp_path: Path) -> None:
    for error, left in ((KeyboardInterrupt, False), (HarnessError, True)):
        folder = new_run_folder(tmp_path)
        with suppress(error), kept_unless_interrupted(folder) as lent:
            (lent / "log").write_text("half")
            raise error("x")
        assert folder.exists() == left
