"""A failed build's hint names what is still there when the folder it was made in is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.image import base_disk
from harness.image.base_definition import load_definition
from harness.image.base_disk import build_base_disk
from harness.image.kept_logs import keep_logs


def keep(tmp_path: Path, hint: str) -> HarnessError:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    (work / "build.log").write_text("what it said\n")
    error = HarnessError("no luck", hint=hint.format(work=work), exit_code=1)
    return keep_logs(
        error, work=work, names=("build.log", "absent.log"), kept=tmp_path / "kept", what="the log"
    )


@pytest.mark.parametrize("hint", ["", "the whole log: {work}/build.log"])
def test_the_hint_names_the_kept_log(tmp_path: Path, hint: str) -> None:
    told = keep(tmp_path, hint)
    assert (told.message, told.hint, told.exit_code) == ("no luck", f"the log: {tmp_path / 'kept'}", 1)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["build.log"]


def test_a_hint_that_helps_stays(tmp_path: Path) -> None:
    assert keep(tmp_path, "apt-get install mmdebstrap").hint == "apt-get install mmdebstrap"


def test_logs_of_an_earlier_failure_go(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "old.log").touch()
    keep(tmp_path, "")
    assert not (tmp_path / "kept" / "old.log").exists()


def test_the_log_of_a_failed_base_disk_is_where_its_hint_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "mmdebstrap"
    stub.write_text("#!/bin/sh\necho 'E: no such package: nonsense'\nexit 100\n")
    stub.chmod(0o755)
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base_disk, "find_tool", lambda *_: stub)
    monkeypatch.setattr(base_disk, "require_free", lambda *_: None)
    with pytest.raises(HarnessError, match="E: no such package: nonsense") as caught:
        build_base_disk(load_definition())
    folder = Path(caught.value.hint.rpartition(": ")[2])
    assert "no such package" in (folder / "build.log").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["failed"]
