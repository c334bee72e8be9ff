"""The next run clears what a killed one left, and nothing else."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine.leftovers import Claim, clear_leftovers, members, remove_cgroup

# A run that makes a folder, claims it and is killed before it can clear it.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from harness.machine.leftovers import Claim
claim = Claim()
folder = claim.folder(Path(sys.argv[2]))
folder.mkdir()
(folder / "disk.qcow2").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_runs_folder_goes(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "slm-qemu-abc"
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", KILLED_RUN, root, str(folder)], check=False)
    assert (folder / "disk.qcow2").exists()
    assert clear_leftovers() == [folder]
    assert not folder.exists()
    assert list((cache / "machines").iterdir()) == []


def test_a_living_runs_folder_stays(tmp_path: Path) -> None:
    claim = Claim()
    folder = claim.folder(tmp_path / "slm-nspawn-abc")
    folder.mkdir()
    assert clear_leftovers() == []
    assert folder.exists()
    claim.release()
    assert not folder.exists()
    claim.release()


def test_a_new_folder_is_private_and_named_like_a_host(tmp_path: Path) -> None:
    claim = Claim()
    folders = [claim.new_folder(tmp_path / "work", "slm-nspawn-") for _ in range(50)]
    assert all(re.fullmatch(r"slm-nspawn-[a-z0-9]+", folder.name) for folder in folders)
    assert folders[0].stat().st_mode & 0o777 == 0o700
    claim.release()
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"folders": 3, "cgroups": []}'])
def test_a_half_written_claim_is_forgotten(cache: Path, record: str) -> None:
    (cache / "machines").mkdir(parents=True)
    (cache / "machines" / "x.json").write_text(record)
    assert clear_leftovers() == []
    assert list((cache / "machines").iterdir()) == []


def test_only_our_own_kind_of_folder_is_ever_deleted(tmp_path: Path, cache: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (cache / "machines").mkdir(parents=True)
    record = {"folders": [str(precious)], "cgroups": [str(precious)]}
    (cache / "machines" / "x.json").write_text(json.dumps(record))
    assert clear_leftovers() == []
    assert precious.exists()


def test_a_group_that_goes_while_it_is_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that ends removes its own groups one by one."""
    top = tmp_path / "slm-nspawn-1"
    (top / "payload" / "system.slice" / "getty.service").mkdir(parents=True)
    scandir = os.scandir

    def ending(path: str) -> object:
        if Path(path).name == "getty.service":
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", ending)
    assert members(top) == []
    remove_cgroup(top)
    assert not top.exists()
