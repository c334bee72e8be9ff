"""What can go wrong and whose fault it is; the command line prints these without a traceback."""


class HarnessError(Exception):
    """The run cannot go on for a reason outside the guest: missing tool, bad input, no disk, no accelerator.

    `message` is one line that says what is wrong and where; `hint` one line that says what to do about it.
    `exit_code` is what the command line exits with: 2 (infrastructure) unless told otherwise.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class ApplianceError(HarnessError):
    """The guest is at fault: it never got ready, panicked, or reported a failed stage. Exit code 1."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message, hint=hint, exit_code=exit_code)
