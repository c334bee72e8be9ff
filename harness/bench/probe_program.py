"""Compiles the memory bandwidth probe on the host, once for each state of its source."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from harness.errors import HarnessError
from harness.image.content_key import content_key, folder_inputs
from harness.image.external_tool import find_tool
from harness.locations import instruments

SOURCE = Path(__file__).with_name("bandwidth_probe.c")

# Static: it has to run in guests that have another C library, and no compiler.
_FLAGS = ("-std=gnu17", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror")
_COMPILE_S = 120


def build_probe(source: Path = SOURCE) -> Path:
    """The probe as one static program, from the cache or compiled now (a second).

    Raises HarnessError when there is no compiler, or with the compiler's first complaint.
    """
    compiler = find_tool("gcc", "gcc")
    key = content_key({"flags": " ".join(_FLAGS), **folder_inputs(source, "source")})
    program = instruments() / f"{source.stem}-{key}"
    if not program.is_file():
        _compile(compiler, source, program)
    return program


def _compile(compiler: Path, source: Path, program: Path) -> None:
    # Renamed when it is whole: two runs may compile at the same time.
    with tempfile.TemporaryDirectory(prefix=".making-", dir=program.parent) as made:
        output = Path(made) / program.name
        answer = subprocess.run(
            [str(compiler), *_FLAGS, "-o", str(output), str(source)],
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
            timeout=_COMPILE_S,
            check=False,
        )
        if answer.returncode != 0:
            said = answer.stderr.splitlines()
            first = next((line for line in said if "error" in line or "cannot find" in line), answer.stderr)
            raise HarnessError(
                f"compiling {source.name}: {first.strip()}", hint="apt-get install gcc libc6-dev"
            )
        output.rename(program)
