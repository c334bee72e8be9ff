"""What the documents for people say is there: links, commands, files, checks, examples that can be read."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from harness.documents import anchors, code_blocks, documents, links, table_names, with_tables
from harness.errors import HarnessError
from harness.locations import REPOSITORY
from harness.parameters import load_parameters, render_brief_table
from harness.profiles import load_profiles, render_sizing_table
from harness.strict_yaml import read_yaml

README, DOCS = REPOSITORY / "README.md", REPOSITORY / "docs"
CLIENTS, THREATS = DOCS / "clients.md", DOCS / "threat-model.md"
NAMED = {path.relative_to(REPOSITORY).as_posix(): path for path in documents()}

each_document = pytest.mark.parametrize("name", NAMED)

MAKE = re.compile(r"\bmake ((?:[a-z][a-z0-9-]*)(?:[ \t]+[A-Z_]+=\S*)*)")
LARGEST_PICTURE = 150_000
"""Bytes: everybody who clones the project gets them."""

CHECK = re.compile(r"`((?:suites|tests)/[\w/]+\.py)(?:::(\w+))?`")


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def said_as_code(text: str) -> str:
    """What a document has in code: blocks, indented blocks, and words between backticks."""
    blocks = [block.text for block in code_blocks(text)]
    indented = [line for line in text.splitlines() if line.startswith("    ")]
    return "\n".join([*blocks, *indented, *re.findall(r"`([^`\n]+)`", text)])


def broken_links(path: Path) -> list[str]:
    broken = []
    for target in links(text_of(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (anchor and anchor not in anchors(text_of(found))):
            broken.append(target)
    return broken


def unknown_commands(text: str, makefile: str) -> list[str]:
    """Of the make commands in a text the targets and variables that the Makefile doesn't have."""
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) *[?:]?=", makefile, re.MULTILINE))
    unknown = []
    for command in MAKE.findall(said_as_code(text)):
        target, *assigned = command.split()
        unknown += [target] if target not in targets else []
        unknown += [one for one in (word.partition("=")[0] for word in assigned) if one not in variables]
    return unknown


def missing_checks(text: str) -> list[str]:
    """Of the checks a text names those that aren't there."""
    missing = []
    for file, function in CHECK.findall(text):
        path = REPOSITORY / file
        wanted = rf"^\s*(?:async )?def {function}\(" if function else ""
        if not path.is_file() or not re.search(wanted, text_of(path), re.MULTILINE):
            missing.append(f"{file}::{function}" if function else file)
    return missing


@each_document
def test_every_link_leads_somewhere(name: str) -> None:
    assert broken_links(NAMED[name]) == []


@each_document
def test_every_make_command_is_one(name: str) -> None:
    assert unknown_commands(text_of(NAMED[name]), text_of(REPOSITORY / "Makefile")) == []


@each_document
def test_every_check_that_is_named_is_there(name: str) -> None:
    assert missing_checks(text_of(NAMED[name])) == []


def test_every_document_can_be_found_from_the_readme() -> None:
    reached, waiting = set[Path](), [README]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md" or not path.exists():
            continue
        reached.add(path)
        local = [one for one in links(text_of(path)) if not re.match(r"[a-z]+:", one)]
        waiting += [(path.parent / one.partition("#")[0]).resolve() for one in local if one[0] != "#"]
    assert {path.name for path in documents()} - {path.name for path in reached} == set()


PARSERS = {
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "python": ast.parse,
}


@each_document
def test_every_example_can_be_read_by_what_it_is_for(name: str) -> None:
    for block in code_blocks(text_of(NAMED[name])):
        if block.language in ("sh", "bash"):
            read = subprocess.run(
                ["bash", "-n"], input=block.text, text=True, capture_output=True, check=False
            )
            assert (read.returncode, read.stderr) == (0, ""), f"{block.heading}: {block.text}"
        elif block.language:
            assert PARSERS[block.language](block.text) is not None, block.heading


def test_every_client_is_told_the_same_address_and_model() -> None:
    for block in code_blocks(text_of(CLIENTS)):
        if block.language in PARSERS and '"openai/MODEL": {' not in block.text:
            assert "https://copilot.example.org/v1" in block.text, block.heading
            assert "MODEL" in block.text, block.heading


OFF = re.compile(
    r"verify(?:_ssl|Ssl)?\s*[=:]\s*[Ff]alse|NODE_TLS_REJECT_UNAUTHORIZED|--insecure|curl[^\n]* -k\b"
    r"|CERT_NONE|rejectUnauthorized"
)


@each_document
def test_no_example_switches_verification_off(name: str) -> None:
    for block in code_blocks(text_of(NAMED[name])):
        assert not OFF.search(block.text), f"{block.heading}: {block.text}"


def test_the_password_is_in_no_argument_of_an_example() -> None:
    for block in code_blocks(text_of(CLIENTS)):
        assert not re.search(r"(?:--api-key|Bearer \$|-u \w+:|--user \w+:)", block.text), block.heading


def test_every_threat_that_is_held_names_what_shows_it() -> None:
    rows = [line for line in text_of(THREATS).splitlines() if line.startswith("| ")]
    held = [row for row in rows if row.count("|") == 4 and not row.startswith(("| threat |", "| |"))]
    assert len(held) > 20
    assert [row for row in held if not CHECK.search(row) and "not shown" not in row] == []


def test_the_sizing_table_says_what_the_profiles_promise() -> None:
    rows = render_sizing_table(load_profiles().values()).splitlines()
    assert "| minimum | 8 | 24 GiB | 40 GiB | 1 to 2, Devstral Small 2 24B Q4_K_M |" in rows
    assert not any(row.startswith("| ci ") for row in rows), "a profile without targets promises nothing"
    assert "sizing" in table_names(text_of(DOCS / "sizing.md"))


def test_the_brief_table_has_every_parameter() -> None:
    rows = render_brief_table(load_parameters()).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [one.name for one in load_parameters()]


def contexts_in(text: str) -> set[tuple[int, int]]:
    """GiB and tokens of the table that begins with `| memory |`."""
    return {
        (int(gib), int(tokens)) for gib, tokens in re.findall(r"^\| (\d+) GiB \| (\d+)", text, re.MULTILINE)
    }


def test_the_readme_promises_the_contexts_that_the_appliance_is_held_to() -> None:
    """tests/appliance/sizing_table.yaml: each of its rows is asked of the appliance itself."""
    default = next(one.default for one in load_parameters() if one.label == "context_size")
    rows = read_yaml(REPOSITORY / "tests/appliance/sizing_table.yaml")["promised"]
    asked = [
        (row["gib"], int(default if row["tokens"] == "default" else row["tokens"]))
        for row in rows
        if row["kv"] == "f16"
    ]
    most = {gib: max(tokens for size, tokens in asked if size == gib) for gib, _ in asked}
    assert contexts_in(text_of(README)) == set(most.items())


@each_document
def test_every_picture_is_small(name: str) -> None:
    for target in links(text_of(NAMED[name])):
        if target.endswith((".webp", ".png", ".svg", ".jpg", ".gif")):
            assert (NAMED[name].parent / target).stat().st_size <= LARGEST_PICTURE, target


TABLE = "a\n<!-- one: begin (generated) -->\nold\n<!-- one: end -->\nb\n"


def test_a_generated_table_replaces_the_one_that_is_there() -> None:
    assert with_tables(TABLE, {"one": "new\n"}) == TABLE.replace("old", "new")
    assert with_tables(TABLE.replace("old\n", ""), {"one": "new\n"}) == TABLE.replace("old", "new")


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace("one: end", "two: end"),
        TABLE.replace("<!-- one: end -->", ""),
        TABLE.replace("one", "x"),
    ],
)
def test_a_marker_that_fits_nothing_is_refused(text: str) -> None:
    with pytest.raises(HarnessError):
        with_tables(text, {"one": "new\n"})


def test_a_slip_in_a_document_is_found(tmp_path: Path) -> None:
    """These tests would show nothing if they found nothing."""
    page = tmp_path / "page.md"
    page.write_text("# A: b\n[x](none.md) [y](#a-b) [z](#c) [w](page.md#a-b) `[v](no.md)`\n")
    assert broken_links(page) == ["none.md", "#c"]
    commands = "    make fly\n`make lint COLOUR=red` make sure, and make it work\n"
    assert unknown_commands(commands, "lint: x\nA ?= 1\n") == ["fly", "COLOUR"]
    named = "`tests/docs/test_documents.py::test_none` `tests/docs/no.py` `tests/docs/test_documents.py`"
    assert missing_checks(named) == ["tests/docs/test_documents.py::test_none", "tests/docs/no.py"]
