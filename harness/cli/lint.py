"""`make lint`: every linter over every file that git knows or would add; each is run, whatever others say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from harness import terminal
from harness.errors import HarnessError
from harness.locations import REPOSITORY


class Complaint(Exception):
    """A linter found something; the text is its output."""


def project_files(root: Path = REPOSITORY) -> list[Path]:
    """Files of the project: tracked by git or not ignored by it, sorted, relative to `root`."""
    answer = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if answer.returncode != 0:
        raise HarnessError(
            f"git can't list the files of {root}: {answer.stderr.decode(errors='replace').strip()}",
            hint="run `make lint` in a git checkout",
        )
    names = sorted({Path(name) for name in answer.stdout.decode().split("\0") if name})
    return [name for name in names if (root / name).is_file()]


def is_shell(path: Path) -> bool:
    """True for *.sh and for files whose first line calls a shell."""
    if path.suffix == ".sh":
        return True
    with path.open("rb") as file:
        first = file.readline(80)
    words = first.removeprefix(b"#!").split()
    return first.startswith(b"#!") and any(Path(os.fsdecode(word)).name in ("sh", "bash") for word in words)


def run(
    command: Sequence[str], root: Path = REPOSITORY, environment: Mapping[str, str] | None = None
) -> None:
    """Run a linter, with additions to the environment. Raises Complaint with its output, or HarnessError when
    it isn't installed."""
    try:
        answer = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise HarnessError(f"{command[0]} is not installed", hint="run `make setup`") from None
    if answer.returncode != 0:
        raise Complaint(answer.stdout.rstrip())


def parse_yaml(files: Iterable[Path], root: Path = REPOSITORY) -> None:
    """Parse each YAML file. Raises Complaint naming those that are broken."""
    broken = []
    for name in files:
        try:
            list(yaml.safe_load_all((root / name).read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            broken.append(f"{name}: {' '.join(str(error).split())}")
    if broken:
        raise Complaint("\n".join(broken))


def check_packer(folders: Iterable[Path], root: Path = REPOSITORY) -> None:
    """Packer's own format check, and what it says of the templates with each flavor's variables. Raises
    Complaint, or HarnessError when Packer can't be had."""
    from harness.cli.lint_packer import validate_templates
    from harness.image.packer_tools import installed_plugin_folder, packer_binary

    packer = str(packer_binary())
    for folder in folders:
        run([packer, "fmt", "-check", "-diff", str(folder)], root)
        for template in sorted((root / folder).glob("*.pkr.hcl")):  # each stands for itself
            run([packer, "validate", "-syntax-only", str(template)], root)
    plugins = installed_plugin_folder()
    validate_templates(packer, lambda command, more: run(command, root, more), plugins)
    if plugins is None:
        terminal.say(
            "  Packer's QEMU plugin is not here: the names of its own settings are not checked", "dim"
        )


def beside_python(name: str) -> str:
    """A program of our virtual environment when it has it, else by its name from PATH."""
    own = Path(sys.executable).parent / name
    return str(own) if own.is_file() else name


def linters(files: Sequence[Path], root: Path = REPOSITORY) -> dict[str, Callable[[], None]]:
    """Each linter by the name it is shown under."""
    shell = [str(path) for path in files if is_shell(root / path)]
    documents = [path for path in files if path.suffix in (".yaml", ".yml")]
    folders = sorted({path.parent for path in files if path.name.endswith((".pkr.hcl", ".pkrvars.hcl"))})
    chosen: dict[str, Callable[[], None]] = {
        "ruff check": lambda: run([beside_python("ruff"), "check", "."]),
        "ruff format": lambda: run([beside_python("ruff"), "format", "--check", "."]),
        "mypy --strict harness": lambda: run([beside_python("mypy"), "--strict", "harness"]),
        f"YAML ({len(documents)} files)": lambda: parse_yaml(documents),
    }
    if shell:
        chosen[f"shellcheck ({len(shell)} files)"] = lambda: run(
            [beside_python("shellcheck"), "-x", "-P", "SCRIPTDIR", *shell]
        )
        chosen["shfmt"] = lambda: run([beside_python("shfmt"), "-d", "-i", "2", "-ci", *shell])
    if folders:
        chosen["packer fmt and validate"] = lambda: check_packer(folders)
    return chosen


def main() -> int:
    """Run them all; 0 when none complained, 1 when one did, 2 when one is missing."""
    worst = 0
    try:
        chosen = linters(project_files())
    except HarnessError as error:
        terminal.complain(error.message, error.hint)
        return error.exit_code
    for name, lint in chosen.items():
        try:
            lint()
        except Complaint as complaint:
            terminal.say(str(complaint))
            terminal.say(f"✗ {name}", "red")
            worst = max(worst, 1)
        except HarnessError as error:
            terminal.say(f"✗ {name}: {error.message}", "red")
            worst = 2
        else:
            terminal.say(f"✓ {name}", "green")
    return worst


if __name__ == "__main__":
    sys.exit(main())
