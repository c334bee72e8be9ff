"""A secret on its way to a child process: through a pipe, so that no argument, variable or file has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from harness.errors import HarnessError
from harness.redaction import REDACTOR

LONGEST_BYTES = 4096
"""A pipe holds this much before anybody reads (POSIX promises 512, Linux has 65536)."""


@contextmanager
def handed_over(secret: str) -> Iterator[int]:
    """A pipe with the secret in it: the descriptor a child is to inherit. It can be read once.

    Leave the block as soon as the child runs, so that nothing else inherits it. Raises HarnessError.
    """
    data = secret.encode()
    if len(data) > LONGEST_BYTES:
        raise HarnessError(f"a secret of more than {LONGEST_BYTES} bytes can't be handed over")
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
        yield reading
    finally:
        with suppress(OSError):
            os.close(reading)


def take_over(descriptor: int, label: str) -> str:
    """In the child: read what was handed over, and close the pipe. Masked as `label` from now on. Raises
    HarnessError when there is none."""
    try:
        with os.fdopen(descriptor, "rb") as pipe:
            secret = pipe.read(LONGEST_BYTES).decode()
    except OSError as error:
        raise HarnessError(f"no secret was handed over: {error.strerror}") from None
    if not secret:
        raise HarnessError("no secret was handed over: the pipe is empty")
    REDACTOR.add(secret, label)
    return secret
