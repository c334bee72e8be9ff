"""Every instant is a different disk, and those that are booted lie evenly between the first and the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ApplianceError
from harness.machine.protocol import Machine
from suites.powercut import instants
from suites.powercut.instants import Instant, ThisBoot, digest_of, spread, take_instants


class Writing:
    """As much of a machine as is needed: each look at its disk finds the next content."""

    def __init__(self, contents: list[str], last_words: str) -> None:
        self.contents = contents
        self.last_words = last_words

    def console_text(self) -> str:
        return "" if self.contents else self.last_words

    def copy_disk(self, target: Path) -> None:
        target.write_text(self.contents.pop(0))


def writing(contents: list[str], last_words: str = "slm-copilot: ready https://10.0.2.15/v1\n") -> Machine:
    return Writing(contents, last_words)  # type: ignore[return-value]


def taken(machine: Machine, folder: Path, enough: int | None = None) -> list[str]:
    boot = ThisBoot(machine)
    found = take_instants(machine, folder / "taken", boot, stretch=0.1, enough=enough)
    assert sorted(path.name for path in (folder / "taken").iterdir()) == [one.disk.name for one in found]
    return [one.disk.read_text() for one in found]


def test_a_disk_that_did_not_change_is_no_new_instant(tmp_path: Path) -> None:
    assert taken(writing(["a", "a", "b", "b", "a"]), tmp_path) == ["a", "b", "a"]


def test_it_stops_when_there_are_enough(tmp_path: Path) -> None:
    assert taken(writing(["a", "b", "c", "d"]), tmp_path, enough=2) == ["a", "b"]


def test_it_stops_when_nothing_changes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instants, "QUIET_S", 2)
    assert taken(writing(["a"] * 10_000), tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("slm-copilot: failed configure: no\n", "configure failed: no"),
        ("Kernel panic - not syncing: x\n", "panicked"),
    ],
)
def test_a_guest_that_says_it_failed_ends_it(tmp_path: Path, said: str, told: str) -> None:
    with pytest.raises(ApplianceError, match=told):
        taken(writing(["a"], said), tmp_path)


def disks(folder: Path, count: int) -> list[Instant]:
    for number in range(count):
        (folder / f"{number:02d}").write_text("x")
    return [Instant(folder / f"{number:02d}", float(number)) for number in range(count)]


def test_those_that_are_kept_are_spread_and_the_others_removed(tmp_path: Path) -> None:
    kept = spread(disks(tmp_path, 21), 5)
    assert [one.second for one in kept] == [0, 5, 10, 15, 20]
    assert len(list(tmp_path.iterdir())) == 5


def test_few_instants_are_all_kept(tmp_path: Path) -> None:
    assert len(spread(disks(tmp_path, 3), 5)) == 3


def test_a_folder_differs_by_what_is_in_it_but_for_the_journal(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "var/log/journal").mkdir(parents=True)
    (disk / "etc").mkdir()
    first = digest_of(disk)
    (disk / "var/log/journal/system.journal").write_text("a line")
    assert digest_of(disk) == first
    (disk / "etc" / "file").write_text("x")
    second = digest_of(disk)
    (disk / "etc" / "file").chmod(0o600)
    assert len({first, second, digest_of(disk)}) == 3
