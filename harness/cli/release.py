"""`slm release` and `slm validate-bundle`: the bundle of an image that passed, and whether one is right."""

from __future__ import annotations

from pathlib import Path

from harness import terminal
from harness.cli.gate import GateRequest, ask, show
from harness.locations import REPOSITORY

OUTPUT = REPOSITORY / "build" / "release"
"""Where bundles are made; git ignores it."""


def release(request: GateRequest, output: Path) -> int:
    """Ask the gate, and make the bundle when it says PASS. Returns 0, or the gate's exit code.

    Raises HarnessError for what keeps a bundle from being made; nothing of it is left then.
    """
    from harness.bundle.make import make_bundle

    answer = ask(request)
    show(answer)
    folder = make_bundle(answer, output)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    terminal.say("")
    terminal.say(f"bundle  {folder} ({size / 1e9:.2f} GB)")
    if answer.rules is not None and not answer.rules.upload:
        terminal.say(f"not for upload: its image is of flavor {answer.subject.image.flavor}", "bold yellow")
    return 0


def validate(folder: Path, *, upload: bool) -> int:
    """Tell everything that is wrong with a bundle; 0 when nothing is, else 1. Raises HarnessError when it
    can't be read."""
    from harness.bundle.validate import problems_of

    problems = problems_of(folder, upload=upload)
    for problem in problems:
        terminal.say(f"✗ {problem}", "red")
    meant = "a bundle for upload" if upload else "a bundle"
    said = f"{len(problems)} rules broken" if problems else f"keeps the rules of {meant}"
    terminal.say(f"{folder}: {said}", "bold red" if problems else "bold green")
    return 1 if problems else 0
