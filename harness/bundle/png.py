"""PNG files (ISO/IEC 15948) as far as a logo needs them: size, padding, text chunks."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

EDGE = 300
"""Pixels of each side, as the marketplace advises."""

LEAST_PADDING = 10
"""Fully transparent pixels on each side."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 25
"""The header chunk comes first: length, type, 13 bytes, checksum."""


def png_problem(content: bytes) -> str:
    """Why these bytes are no logo, a PNG of 300 x 300 pixels with transparent padding; "" for nothing."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format != "PNG":
                return f"is a {image.format}, not a PNG"
            if image.size != (EDGE, EDGE):
                return f"is {image.size[0]} x {image.size[1]} pixels, {EDGE} x {EDGE} are wanted"
            drawn = image.convert("RGBA").getchannel("A").getbbox()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        return f"is no readable PNG: {error}".split("<")[0].rstrip()
    if drawn is None:
        return "is empty"
    left, top, right, bottom = drawn
    padding = min(left, top, EDGE - right, EDGE - bottom)
    return "" if padding >= LEAST_PADDING else f"has {padding} pixels of padding, {LEAST_PADDING} are wanted"


def with_text(content: bytes, key: str, text: str) -> bytes:
    """The PNG with one more text chunk, after its header."""
    body = b"tEXt" + key.encode("latin-1") + b"\0" + text.encode("latin-1")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:_HEADER_END] + chunk + content[_HEADER_END:]


def png_texts(content: bytes) -> dict[str, str]:
    """The text chunks by key."""
    texts = {}
    for kind, body in _chunks(content):
        if kind == b"tEXt":
            key, _, text = body.partition(b"\0")
            texts[key.decode("latin-1")] = text.decode("latin-1")
    return texts


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        yield content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        place += 12 + length
