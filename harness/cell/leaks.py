"""The harness's own check: nothing secret in any file it writes."""

from __future__ import annotations

from pathlib import Path

from harness.redaction import REDACTOR, Redactor
from harness.results.model import Check

CHECK_ID = "harness::nothing_secret_in_any_file_the_harness_writes"


def files_with_secrets(folder: Path, redactor: Redactor = REDACTOR) -> list[Path]:
    """Regular files below `folder` in which the redactor would mask something, sorted."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if redactor.redact_bytes(content) != content:
                found.append(path)
    return found


def check_files(folder: Path, seconds: float, found: list[Path]) -> Check:
    """The outcome as a check. It names the files, never what stands in them."""
    names = ", ".join(path.relative_to(folder).as_posix() for path in found)
    return Check(
        id=CHECK_ID,
        file="harness",
        title="nothing secret in any file the harness writes",
        status="failed" if found else "passed",
        seconds=seconds,
        message=f"a secret stood in: {names} (masked now)" if found else "",
    )
