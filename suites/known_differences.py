"""Where engines are known to differ: suites/known_differences.yaml, read and shown to people.

python -m suites.known_differences           compares docs/engines.md with the YAML, exit 1 when they differ
python -m suites.known_differences --write   rewrites its tables
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.locations import REPOSITORY
from harness.strict_yaml import Reader, read_yaml

SUITES = REPOSITORY / "suites"
SOURCE = SUITES / "known_differences.yaml"
DOCUMENT = REPOSITORY / "docs" / "engines.md"
ENGINES = REPOSITORY / "appliance" / "engines"

KNOWN_BY = ("run", "source")

_CHECK = re.compile(r"(?P<file>[a-z_]+/test_[a-z0-9_]+\.py)::(?P<function>test_\w+)(?P<parameters>\[.+\])?")


@dataclass(frozen=True)
class Difference:
    """One entry of the file. `known_by` is "run" for what a run has shown, "source" for what was only read;
    `model` is "" for every model, `fixed` is "" where nobody has fixed it yet."""

    engine: str
    checks: tuple[str, ...]
    why: str
    known_by: str = "run"
    model: str = ""
    fixed: str = ""

    def covers(self, check: str) -> bool:
        """Whether it is about this check, a node id below suites/."""
        return check in self.checks or check.partition("[")[0] in self.checks


def load_differences(path: Path = SOURCE) -> tuple[Difference, ...]:
    """The entries in the order of the file.

    Raises HarnessError naming the entry, the key and what is accepted.
    """
    reader = Reader(path)
    entries = reader.mapping(read_yaml(path), "the file", required={"differences"})["differences"]
    if not isinstance(entries, list) or not entries:
        reader.fail("differences", "must be a list with one entry at least")
    found = tuple(_difference(reader, entry, f"entry {number}") for number, entry in enumerate(entries, 1))
    seen: set[tuple[str, str, str]] = set()
    for one in found:
        for check in one.checks:
            if (key := (one.engine, one.model, check)) in seen:
                reader.fail(one.engine, f"{check} is listed twice")
            seen.add(key)
    return found


def _difference(reader: Reader, entry: object, where: str) -> Difference:
    required = {"engine", "checks", "why", "known_by"}
    fields = reader.mapping(entry, where, required=required, optional={"model", "fixed"})
    if fields["known_by"] not in KNOWN_BY:
        reader.fail(f"{where}, known_by", f"must be {' or '.join(KNOWN_BY)}, not {fields['known_by']!r}")
    checks = fields["checks"]
    if not isinstance(checks, list) or not checks:
        reader.fail(f"{where}, checks", "must be a list of node ids, with one at least")
    for check in checks:
        _require_check(reader, check, f"{where}, checks")
    why = _text(reader, fields, "why", where)
    if not why.endswith("."):
        reader.fail(f"{where}, why", f"must be a sentence that ends with a full stop, not {why!r}")
    return Difference(
        engine=_text(reader, fields, "engine", where),
        checks=tuple(checks),
        why=why,
        known_by=fields["known_by"],
        model=_text(reader, fields, "model", where) if "model" in fields else "",
        fixed=_text(reader, fields, "fixed", where) if "fixed" in fields else "",
    )


def _text(reader: Reader, fields: Mapping[str, Any], key: str, where: str) -> str:
    value = fields[key]
    if not isinstance(value, str) or not value.strip() or value != " ".join(value.split()):
        reader.fail(f"{where}, {key}", f"must be text in one line, not {value!r}")
    return value


def _require_check(reader: Reader, check: object, where: str) -> None:
    match = _CHECK.fullmatch(check) if isinstance(check, str) else None
    if match is None:
        reader.fail(where, f"{check!r} must be of the form suite/test_file.py::test_function[parameters]")
    file = SUITES / match["file"]
    if not file.is_file():
        reader.fail(where, f"{check}: there is no file {file}")
    if not re.search(rf"^def {match['function']}\(", file.read_text(encoding="utf-8"), re.MULTILINE):
        reader.fail(where, f"{check}: {file} has no function {match['function']}")


def differences_of(engine: str, model: str, differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Those which this engine shows with this model."""
    return tuple(one for one in differences if one.engine == engine and one.model in ("", model))


def without_a_check(differences: Iterable[Difference], checks: Iterable[str]) -> list[str]:
    """The listed node ids that none of these checks has, although others of their file are there."""
    there = set(checks)
    files = {check.partition("::")[0] for check in there}
    functions = {check.partition("[")[0] for check in there}
    return [
        check
        for one in differences
        for check in one.checks
        if check.partition("::")[0] in files and check not in (there if "[" in check else functions)
    ]


# ---- for people


def render_table(engine: str, differences: Iterable[Difference]) -> str:
    """An engine's differences as a table of GitHub Markdown, with the checks that are expected to fail."""
    rows = ["| What it does | Known by | Fixed in | Checks that are expected to fail |", "|---|---|---|---|"]
    for one in differences:
        if one.engine == engine:
            checks = "<br>".join(_title(check) for check in one.checks)
            why = f"{one.why} (with {one.model})" if one.model else one.why
            cells = (why, one.known_by, one.fixed or "-", checks)
            rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _title(check: str) -> str:
    function, _, parameters = check.partition("::")[2].partition("[")
    sentence = function.removeprefix("test_").replace("_", " ")
    return f"{sentence}: {parameters[:-1]}" if parameters else sentence


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def render_document(document: str, differences: Sequence[Difference]) -> str:
    """The document with each engine's table between its marks.

    Raises HarnessError when an engine that has differences has no place there.
    """
    for engine in dict.fromkeys(one.engine for one in differences):
        begin = (
            f"<!-- known differences of {engine}: begin (generated from suites/known_differences.yaml) -->"
        )
        end = f"<!-- known differences of {engine}: end -->"
        before, found, rest = document.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            hint = f"it needs {begin} and {end}"
            raise HarnessError(f"{DOCUMENT.name} has no place for {engine}", hint=hint)
        document = f"{before}{begin}\n{render_table(engine, differences)}{end}{after}"
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare or rewrite docs/engines.md; the exit code says whether it agrees."""
    parser = argparse.ArgumentParser(prog="python -m suites.known_differences")
    parser.add_argument("--write", action="store_true", help="rewrite the tables")
    options = parser.parse_args(arguments)
    try:
        document = DOCUMENT.read_text(encoding="utf-8")
        wanted = render_document(document, load_differences())
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if document == wanted:
        return 0
    if options.write:
        DOCUMENT.write_text(wanted, encoding="utf-8")
        return 0
    print(f"error: {DOCUMENT.name} differs from {SOURCE.name}", file=sys.stderr)
    print("hint: run python -m suites.known_differences --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
