"""The password of somebody else's appliance: from a file that nobody else can read, or typed.

Never from the command line or the environment, which other users of this host can see.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

from harness.errors import HarnessError
from harness.redaction import REDACTOR

LONGEST_BYTES = 4096


def read_password(file: Path | None) -> str:
    """The password; masked from now on in everything the harness prints or writes. Raises HarnessError."""
    password = _of_file(file) if file is not None else _typed()
    _require_sendable(password)
    try:
        REDACTOR.add(password, "admin password")
    except ValueError:
        raise HarnessError("the password is shorter than any the appliance accepts") from None
    return password


def _of_file(path: Path) -> str:
    """The file's only line. Its mode is asked of the opened file: between a look at the name and the opening
    another file could take its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise HarnessError(f"can't read PASSWORD_FILE={path}: {error.strerror}") from None
    try:
        _require_private(path, os.fstat(descriptor))
        data = os.read(descriptor, LONGEST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > LONGEST_BYTES:
        raise HarnessError(f"PASSWORD_FILE={path} is too large for a password")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise HarnessError(f"PASSWORD_FILE={path} is no text") from None
    if len(lines) != 1:
        raise HarnessError(f"PASSWORD_FILE={path} has {len(lines)} lines; the password alone must be in it")
    return lines[0]


def _require_private(path: Path, facts: os.stat_result) -> None:
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISFIFO(facts.st_mode)):
        raise HarnessError(f"PASSWORD_FILE={path} is no file")
    if facts.st_mode & 0o077:
        raise HarnessError(
            f"others can read PASSWORD_FILE={path} (mode {stat.S_IMODE(facts.st_mode):04o})",
            hint=f"chmod 600 {path}, and change the password if others may have read it",
        )
    if facts.st_uid not in (os.geteuid(), 0):
        raise HarnessError(f"PASSWORD_FILE={path} belongs to another user")


def _typed() -> str:
    if not sys.stdin.isatty():
        raise HarnessError("there is nobody to ask for the password", hint="give PASSWORD_FILE=")
    try:
        return getpass.getpass("password of the appliance's user admin: ")
    except EOFError:
        raise HarnessError("no password was typed", hint="or give PASSWORD_FILE=") from None


def _require_sendable(password: str) -> None:
    if not password:
        raise HarnessError("the password is empty")
    if not password.isascii() or not password.isprintable() or " " in password:
        raise HarnessError("the password has characters that no password of the appliance can have")
