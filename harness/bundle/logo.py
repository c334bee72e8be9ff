"""The marketplace's logo: marketplace/logo.png, drawn from logo.svg.

python -m harness.bundle.logo           compares: was the PNG drawn from this SVG? Exit 1 when it wasn't
python -m harness.bundle.logo --write   draws it with rsvg-convert (Debian package librsvg2-bin)

The PNG is kept beside the SVG because two versions of a renderer don't draw the same bytes; it carries the
SVG's sha256 in a text chunk, so that an edit of one without the other is noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.bundle.declaration import MARKETPLACE
from harness.bundle.png import EDGE, png_problem, png_texts, with_text
from harness.errors import HarnessError
from harness.image.external_tool import find_tool

SVG = MARKETPLACE / "logo.svg"
PNG = MARKETPLACE / "logo.png"
SOURCE_KEY = "Source-SHA256"


def logo_problem(svg: Path = SVG, png: Path = PNG) -> str:
    """Why the PNG can't be used; "" when it can. Raises HarnessError when a file can't be read."""
    try:
        drawn, wanted = png.read_bytes(), hashlib.sha256(svg.read_bytes()).hexdigest()
    except OSError as error:
        raise HarnessError(f"can't read the logo: {error.strerror}: {error.filename}") from None
    if problem := png_problem(drawn):
        return f"{png.name} {problem}"
    if png_texts(drawn).get(SOURCE_KEY) != wanted:
        return f"{png.name} was not drawn from this {svg.name}"
    return ""


def draw(svg: Path = SVG) -> bytes:
    """The SVG as PNG. Raises HarnessError when rsvg-convert is missing or fails."""
    result = subprocess.run(
        [
            find_tool("rsvg-convert", "librsvg2-bin"),
            *("--width", str(EDGE), "--height", str(EDGE), "--format", "png", str(svg)),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if result.returncode != 0:
        raise HarnessError(f"{svg} can't be drawn: {' '.join(result.stderr.decode().split())[:300]}")
    return with_text(result.stdout, SOURCE_KEY, hashlib.sha256(svg.read_bytes()).hexdigest())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.bundle.logo", description=__doc__)
    parser.add_argument("--write", action="store_true", help="draw the PNG")
    options = parser.parse_args(arguments)
    try:
        if options.write:
            PNG.write_bytes(draw())
        problem = logo_problem()
    except HarnessError as error:
        problem = error.message
    if problem:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
