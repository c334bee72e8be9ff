"""A text stream that masks secrets before they reach the terminal."""

from __future__ import annotations

from typing import Any, TextIO

from harness.redaction import REDACTOR


class RedactingStream:
    """Stands in for the stream it wraps; everything but `write` is the wrapped stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text with its secrets masked; returns the length of what was asked to be written."""
        self._stream.write(REDACTOR.redact(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
