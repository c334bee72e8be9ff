"""A container can start again when newer images have pushed its unpacked image out of the cache."""

from pathlib import Path

from harness.machine.root_disk import RootDisk, held


def test_a_held_disk_outlives_its_place_in_the_cache(tmp_path: Path) -> None:
    cached = tmp_path / "root.raw"
    cached.write_bytes(b"disk")
    disk = held(RootDisk(cached, 512), tmp_path / "image.raw")
    cached.unlink()
    assert (disk.path.read_bytes(), disk.offset, disk.writable) == (b"disk", 512, False)


def test_where_no_second_name_is_possible_the_first_one_has_to_do(tmp_path: Path) -> None:
    disk = RootDisk(tmp_path / "root.raw", 0)
    disk.path.write_bytes(b"disk")
    assert held(disk, tmp_path / "absent" / "image.raw") == disk
