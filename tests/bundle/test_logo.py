"""The logo: 300 x 300 with padding, and drawn from the SVG that stands beside it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from harness.bundle.logo import PNG, SVG, logo_problem
from harness.bundle.png import png_problem, png_texts, with_text


def drawn(size: tuple[int, int] = (300, 300), margin: int | None = 20, file_format: str = "PNG") -> bytes:
    image = Image.new("RGBA" if file_format == "PNG" else "RGB", size)
    width, height = size
    if margin is not None:
        box = (margin, margin, width - margin - 1, height - margin - 1)
        ImageDraw.Draw(image).rectangle(box, fill="#173b4d")
    target = io.BytesIO()
    image.save(target, file_format)
    return target.getvalue()


def test_the_logo_can_be_used() -> None:
    assert logo_problem() == ""
    assert len(PNG.read_bytes()) < 50_000


def test_an_edited_svg_is_noticed(tmp_path: Path) -> None:
    svg = tmp_path / "logo.svg"
    svg.write_text(SVG.read_text().replace("#173b4d", "#000000"))
    assert logo_problem(svg) == "logo.png was not drawn from this logo.svg"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (drawn(), ""),
        (drawn((256, 256)), "is 256 x 256 pixels"),
        (drawn(margin=4), "has 4 pixels of padding"),
        (drawn(file_format="JPEG"), "is a JPEG, not a PNG"),
        (b"", "is no readable PNG"),
        (drawn()[:200], "is no readable PNG"),
        (drawn(margin=None), "is empty"),
    ],
)
def test_a_png_is_judged(content: bytes, words: str) -> None:
    problem = png_problem(content)
    assert (words in problem) if words else (problem == "")


def test_a_text_chunk_changes_nothing_else() -> None:
    told = with_text(drawn(), "Source-SHA256", "ab")
    assert png_texts(told) == {"Source-SHA256": "ab"}
    assert png_problem(told) == ""
