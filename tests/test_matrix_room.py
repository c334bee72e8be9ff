"""How many cells run side by side, and in which order."""

from dataclasses import dataclass

import pytest

from harness.matrix.room import OVERHEAD_MIB, Room, available_mib, in_order


@dataclass(frozen=True)
class Size:
    """A cell, as large as it is."""

    cores: int = 2
    ram_mib: int = 2048
    seconds: int = 60


CI = Size()
LARGE = Size(cores=8, ram_mib=24576)


@pytest.mark.parametrize(
    ("cores", "ram_mib", "jobs", "running", "fits"),
    [
        (2, 24000, None, [], True),
        (2, 24000, None, [CI], False),
        (3, 24000, None, [CI], False),
        (4, 24000, None, [CI], True),
        (4, 24000, None, [CI, CI], False),
        (4, 2 * (2048 + OVERHEAD_MIB), None, [CI], True),
        (4, 2 * (2048 + OVERHEAD_MIB) - 1, None, [CI], False),
        (64, 256000, None, [LARGE] * 7, True),
        (2, 24000, 3, [CI, CI], True),
        (2, 24000, 3, [CI, CI, CI], False),
        (64, 256000, 1, [CI], False),
    ],
)
def test_a_cell_fits_beside_others(
    cores: int, ram_mib: int, jobs: int | None, running: list[Size], fits: bool
) -> None:
    assert Room(cores, ram_mib, jobs).fits(running, CI) is fits


def test_a_cell_that_is_too_large_for_the_host_still_runs_alone() -> None:
    assert Room(cores=2, ram_mib=1000).fits([], LARGE)
    assert not Room(cores=2, ram_mib=1000).fits([CI], LARGE)


def test_one_after_another_the_shortest_comes_first() -> None:
    cells = [Size(seconds=300), Size(seconds=40), Size(seconds=160)]
    assert [one.seconds for one in in_order(cells, Room(2, 24000))] == [40, 160, 300]


def test_side_by_side_the_longest_comes_first() -> None:
    cells = [Size(seconds=160), Size(seconds=300), Size(seconds=40)]
    assert [one.seconds for one in in_order(cells, Room(8, 24000))] == [300, 160, 40]
    assert [one.seconds for one in in_order(cells, Room(2, 24000, jobs=2))] == [300, 160, 40]


def test_what_memory_is_left_is_read_from_meminfo() -> None:
    assert available_mib("MemTotal: 24000000 kB\nMemAvailable:   20480000 kB\n") == 20000
    assert available_mib("") == 0
