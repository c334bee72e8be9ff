"""suites/known_differences.yaml: each entry is of a check there is, marks it strictly, and is in the docs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import HarnessError
from harness.locations import REPOSITORY
from suites.conftest import IMAGE_FACTS, pytest_collection_modifyitems
from suites.known_differences import (
    DOCUMENT,
    ENGINES,
    SOURCE,
    Difference,
    differences_of,
    load_differences,
    render_document,
    render_table,
    without_a_check,
)

pytest_plugins = ["pytester"]

REFUSES = "conformance/test_openai_api.py::test_openai_refuses"
ONE_ENGINES = "conformance/test_openai_api.py::test_a_stream_names_the_role_even_if_it_starts_with_an_emoji"
"""A check that one engine alone is known to fail."""


def test_the_docs_show_the_same() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    wanted = render_document(document, load_differences())
    assert document == wanted, "run python -m suites.known_differences --write"


def test_every_engine_of_an_entry_is_there() -> None:
    engines = {one.engine for one in load_differences()}
    assert engines <= {file.stem for file in ENGINES.glob("*.sh")}


def test_every_entry_is_of_a_check_that_is_there() -> None:
    files = {check.partition("::")[0] for one in load_differences() for check in one.checks}
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *(f"suites/{file}" for file in files)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    checks = [line.removeprefix("suites/") for line in listed.stdout.splitlines() if "::" in line]
    assert len(checks) > len(files)
    assert without_a_check(load_differences(), checks) == []


def test_an_entry_without_a_check_is_found() -> None:
    there = [f"{REFUSES}[an empty body]", f"{REFUSES}[a role]"]

    def stale(*checks: str) -> list[str]:
        return without_a_check([Difference("x", checks, "It is.")], there)

    assert stale(*there, REFUSES) == []
    assert stale(f"{REFUSES}[gone]") == [f"{REFUSES}[gone]"]
    assert stale("conformance/test_openai_api.py::test_gone") == ["conformance/test_openai_api.py::test_gone"]
    assert stale("conformance/test_sse.py::test_elsewhere") == [], "a file that isn't run says nothing"


def test_an_entry_is_for_its_engine_and_its_model() -> None:
    both = Difference("a", (REFUSES,), "It is.")
    one = Difference("a", (REFUSES,), "It is.", model="small")
    assert differences_of("a", "small", [both, one]) == (both, one)
    assert differences_of("a", "large", [both, one]) == (both,)
    assert differences_of("b", "small", [both, one]) == ()
    assert both.covers(f"{REFUSES}[x]")
    assert not both.covers(f"{REFUSES}_more[x]")


def entry(**fields: str) -> str:
    told = {"engine": "llama-server", "checks": f'["{REFUSES}"]', "why": "It does.", "known_by": "run"}
    told |= fields
    return (
        "differences:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in told.items() if value) + "\n"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (entry(why="It does"), "full stop"),
        (entry(why=""), "lacks why"),
        (entry(known_by="hearsay"), "must be run or source"),
        (entry(engine="[]"), "text in one line"),
        (entry(since="1"), "unknown since"),
        (entry(checks="[]"), "one at least"),
        (entry(checks="[5]"), "of the form"),
        (entry(checks='["test_openai_api.py::test_openai_refuses"]'), "of the form"),
        (entry(checks='["conformance/test_gone.py::test_x"]'), "there is no file"),
        (entry(checks='["conformance/test_openai_api.py::test_gone"]'), "no function test_gone"),
        (entry(checks=f'["{REFUSES}", "{REFUSES}"]'), "listed twice"),
        ("differences: []\n", "one entry at least"),
        ("other: []\n", "lacks differences"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "known_differences.yaml"
    path.write_text(text)
    with pytest.raises(HarnessError, match=problem):
        load_differences(path)


def test_an_engine_without_a_place_in_the_docs_is_told() -> None:
    with pytest.raises(HarnessError, match="no place for other"):
        render_document("# Engines\n", [Difference("other", (REFUSES,), "It does.")])


def test_the_table_names_the_model_and_the_version() -> None:
    told = Difference("a", (f"{REFUSES}[a | b]",), "It does.", model="small", fixed="v9")
    assert render_table("a", [told]).splitlines()[2] == (
        "| It does. (with small) | run | v9 | openai refuses: a \\| b |"
    )


CHECKS = """
import pytest

@pytest.mark.parametrize("kind", ["broken", "mended"])
def test_it_works(kind):
    assert kind == "mended"

def test_another():
    pass
"""
KNOWN = """
differences:
  - engine: made-up
    checks: ["made_up/test_made_up.py::test_it_works"]
    why: It is broken.
    known_by: run
"""


def test_an_engine_that_mends_a_difference_turns_the_run_red(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One case of the check is still broken and may fail; the other is mended, its mark out of date."""
    folder = pytester.mkdir("suites") / "made_up"
    folder.mkdir()
    (folder / "test_made_up.py").write_text(CHECKS)
    source = pytester.path / "known.yaml"
    source.write_text(KNOWN)
    monkeypatch.setattr("suites.known_differences.SUITES", folder.parent)
    monkeypatch.setattr("suites.conftest.SUITES", folder.parent)
    monkeypatch.setattr("suites.conftest.load_differences", lambda: load_differences(source))
    plugins = ["-p", "harness.cell.plugin", "-p", "suites.conftest", "-p", "no:hypothesispytest"]
    result = pytester.runpytest_inprocess(*plugins, "--expect-engine=made-up", "suites")
    result.assert_outcomes(xfailed=1, failed=1, passed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)* made-up: It is broken."])


@dataclass
class FakeItem:
    """What the hook asks of a check."""

    nodeid: str
    path: Path = REPOSITORY / "suites" / "conformance" / "test_openai_api.py"
    marks: list[pytest.MarkDecorator] = field(default_factory=list)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark)


@dataclass
class FakeConfig:
    """pytest started for an image, or for an engine that somebody names."""

    image: Path
    expect: str | None = None
    machine: str = "qemu"
    args: tuple[str, ...] = ("suites/x.py::y",)
    option: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(keyword=""))

    def getoption(self, name: str, default: object = None) -> object:
        told = {"--expect-engine": self.expect, "--machine": self.machine, "--image": self.image}
        return told.get(name, default)


@pytest.mark.parametrize(
    ("facts", "expect", "marked"),
    [
        ('{"engine": "llama-server", "model": "x"}', None, True),
        ('{"engine": "localai", "model": "x"}', None, False),
        ('{"engine": "localai", "model": "x"}', "llama-server", True),
        ('{"engine": "llama-server", "model": "x"}', "nobody:x", False),
        ("not JSON", None, False),
        ('{"model": "x"}', None, False),
    ],
)
def test_the_engine_is_the_one_that_the_image_says(
    tmp_path: Path, facts: str, expect: str | None, marked: bool
) -> None:
    (tmp_path / "image.json").write_text(facts)
    image = tmp_path / "image.qcow2"
    image.touch()
    item = FakeItem(f"suites/{ONE_ENGINES}")
    pytest_collection_modifyitems(FakeConfig(image, expect), [item])  # type: ignore[arg-type, list-item]
    assert [mark.kwargs["strict"] for mark in item.marks] == ([True] if marked else [])


def test_a_run_with_an_entry_that_no_check_has_does_not_start(tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    image.touch()
    with pytest.raises(pytest.UsageError, match="what is no check"):
        pytest_collection_modifyitems(
            FakeConfig(image, args=("suites",)),  # type: ignore[arg-type]
            [FakeItem(f"suites/{REFUSES}[x]")],  # type: ignore[list-item]
        )


def test_at_an_endpoint_those_of_every_engine_may_fail(tmp_path: Path) -> None:
    item = FakeItem(f"suites/{REFUSES}[a temperature of 9]")
    pytest_collection_modifyitems(FakeConfig(tmp_path, machine="endpoint"), [item])  # type: ignore[arg-type, list-item]
    assert {mark.name for mark in item.marks} == {"xfail"}


def test_where_the_facts_of_an_image_are_is_known_once() -> None:
    build = REPOSITORY / "harness" / "image" / "build.py"
    assert f'SIDECAR = "{IMAGE_FACTS}"\n' in build.read_text(encoding="utf-8")


def test_what_is_read_is_the_file_of_the_suites() -> None:
    assert SOURCE == REPOSITORY / "suites" / "known_differences.yaml"
