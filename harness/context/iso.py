"""The context disk: an ISO 9660 image made by the command OpenNebula itself uses."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError


def write_context_iso(files: Mapping[str, bytes], target: Path, label: str = "CONTEXT") -> Path:
    """Write `files` (name to content) into the ISO image `target`, replacing it atomically.

    The command is OpenNebula's own (src/tm_mad/common/context): xorriso, Joliet and Rock Ridge. The image is
    readable by its owner only, since a context may hold a password. Raises HarnessError.
    """
    if shutil.which("xorriso") is None:
        raise HarnessError("xorriso is not installed; it writes the context ISO", hint="run `make setup`")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            root = Path(scratch) / "root"
            root.mkdir()
            for name, content in files.items():
                (root / name).write_bytes(content)
            image = Path(scratch) / "image.iso"
            _run_xorriso(root, image, label)
            image.chmod(0o600)
            image.replace(target)
    except OSError as error:
        raise HarnessError(f"cannot write the context ISO {target}: {error.strerror}") from error
    return target


def _run_xorriso(root: Path, image: Path, label: str) -> None:
    command = ["xorriso", "-as", "mkisofs", "-o", str(image), "-V", label, "-J", "-R", str(root)]
    result = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, timeout=60
    )
    if result.returncode != 0:
        said = [line for line in result.stderr.splitlines() if "FAILURE" in line or "FATAL" in line]
        reason = said[0].strip() if said else f"exit status {result.returncode}"
        raise HarnessError(f"xorriso could not write the context ISO: {reason}")
