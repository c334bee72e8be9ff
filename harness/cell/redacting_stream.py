"""A text stream that masks secrets before they reach the terminal."""

from __future__ import annotations

import contextlib
from typing import Any, TextIO

from harness.redaction import REDACTOR


class RedactingStream:
    """Stands in for the stream it wraps; all but `write` and `flush` is the wrapped stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text with its secrets masked; returns the length of what was asked to be written."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(REDACTOR.redact(text))
        return len(text)

    def flush(self) -> None:
        """Flush. When nobody reads any more, the machine must still be closed in good order: no error."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
