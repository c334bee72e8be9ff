"""A reader of ISO 9660 written for these tests alone, so that xorriso does not judge its own work."""

from pathlib import Path

SECTOR = 2048


def volume_label(image: Path, *, joliet: bool = False) -> str:
    descriptor = _descriptor(image.read_bytes(), 2 if joliet else 1)
    return descriptor[40:72].decode("utf-16-be" if joliet else "ascii").rstrip(" \0")


def files(image: Path, *, joliet: bool = False) -> dict[str, bytes]:
    """Name to content of the root folder: names from Joliet, or from Rock Ridge's NM entries."""
    data = image.read_bytes()
    root = _descriptor(data, 2 if joliet else 1)[156:190]
    listing = _extent(data, root)
    found = {}
    offset = 0
    while offset < len(listing):
        length = listing[offset]
        if length == 0:  # records do not cross sectors; the rest of this one is padding
            offset = (offset // SECTOR + 1) * SECTOR
            continue
        record = listing[offset : offset + length]
        is_folder = bool(record[25] & 2)
        if not is_folder:
            name_length = record[32]
            name = record[33 : 33 + name_length]
            found[name.decode("utf-16-be") if joliet else _rock_ridge_name(record)] = _extent(data, record)
        offset += length
    return found


def _descriptor(data: bytes, kind: int) -> bytes:
    for sector in range(16, 32):
        block = data[sector * SECTOR : (sector + 1) * SECTOR]
        if block[1:6] == b"CD001" and block[0] == kind:
            return block
    raise AssertionError(f"no volume descriptor of type {kind}")


def _extent(data: bytes, record: bytes) -> bytes:
    start = int.from_bytes(record[2:6], "little") * SECTOR
    return data[start : start + int.from_bytes(record[10:14], "little")]


def _rock_ridge_name(record: bytes) -> str:
    name_length = record[32]
    area = record[33 + name_length + (1 - name_length % 2) :]
    while len(area) > 4 and area[2] > 0:
        if area[:2] == b"NM":
            return area[5 : area[2]].decode()
        area = area[area[2] :]
    raise AssertionError("a record without a Rock Ridge name")
