"""SHA256SUMS of a bundle: every file in it but itself, as sha256sum writes and checks it."""

from __future__ import annotations

from pathlib import Path

from harness.image.content_key import file_sha256

SUMS_FILE = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the digests of all files of the folder, by name."""
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files_of(folder)]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def sums_problems(folder: Path) -> list[str]:
    """Files that are missing, changed or not listed."""
    try:
        text = (folder / SUMS_FILE).read_text(encoding="utf-8")
    except OSError:
        return [f"{SUMS_FILE} is missing"]
    told = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    there = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    return [
        *(f"{name} is missing, {SUMS_FILE} lists it" for name in told if name not in there),
        *(f"{name} isn't listed in {SUMS_FILE}" for name in there if name not in told),
        *(
            f"{name} is not what {SUMS_FILE} says"
            for name, path in there.items()
            if name in told and file_sha256(path) != told[name]
        ),
    ]


def files_of(folder: Path) -> list[Path]:
    """Every file of the bundle that has a digest, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS_FILE)
