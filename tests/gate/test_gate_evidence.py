"""Which runs are believed: hand-edited, foreign, contradictory and misdated ones are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from judged import BOOTS, IMAGE, LATER, NOW, RULES, SUBJECT, WHOLE, cell, results, written

from harness.errors import HarnessError
from harness.gate.evidence import find_runs, is_stale, read_runs
from harness.gate.subject import Subject
from harness.results.model import Counts, Results, read_results
from harness.results.publish import render
from harness.results.seal import broken_seal, content_digest

LOGGED = replace(WHOLE, files=("cells/auth/console.log", "cells/auth/journal.log"))


def doubt_of(path: Path, subject: Subject = SUBJECT) -> str:
    (run,) = read_runs([path], subject, RULES, now=NOW)
    return run.doubt


def test_an_untouched_run_is_believed(tmp_path: Path) -> None:
    path = written(tmp_path, results(LOGGED, LATER, BOOTS))
    assert doubt_of(path) == ""


def test_drawing_the_reports_again_breaks_no_seal(tmp_path: Path) -> None:
    path = written(tmp_path, results(LOGGED))
    render(read_results(path), path.parent)
    assert doubt_of(path) == ""


def test_another_layout_of_the_same_json_breaks_no_seal(tmp_path: Path) -> None:
    path = written(tmp_path, results(LOGGED))
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert doubt_of(path) == ""


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        plain = json.loads(path.read_text())
        change(plain)
        path.write_text(json.dumps(plain))

    return edit


def resealed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Who makes a new digest as well gets caught by what doesn't fit together, where something doesn't."""

    def both(plain: dict[str, Any]) -> None:
        change(plain)
        files = plain["seal"]["files"]
        plain["seal"]["sha256"] = content_digest(plain, files)

    return edited(both)


def set_verdict(plain: dict[str, Any]) -> None:
    plain["cells"][0]["verdict"] = "FAIL"


def set_count(plain: dict[str, Any]) -> None:
    plain["cells"][0]["tests"]["passed"] += 100


def set_suite_count(plain: dict[str, Any]) -> None:
    plain["cells"][0]["suites"][0]["tests"]["passed"] += 100


def drop_seal(plain: dict[str, Any]) -> None:
    plain["seal"] = None


def forget_file(plain: dict[str, Any]) -> None:
    del plain["seal"]["files"]["cells/auth/journal.log"]


def append(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with (path.parent / name).open("a") as file:
            file.write("more\n")

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path.parent / name).unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edited(set_verdict), "was changed after it was written"),
        (edited(set_count), "was changed after it was written"),
        (edited(drop_seal), "carries no seal"),
        (edited(lambda plain: plain.pop("seal")), "carries no seal"),
        (edited(lambda plain: plain.update(started="2026-02-09T12:00:01Z")), "was changed after"),
        (edited(lambda plain: plain["cells"].pop()), "was changed after"),
        (edited(forget_file), "was changed after"),
        (resealed(forget_file), "names files without a digest: cells/auth/journal.log"),
        (resealed(set_count), "the counts of ci-auth-selfsigned aren't those of its checks"),
        (resealed(set_suite_count), "the suites of ci-auth-selfsigned aren't those of its checks"),
        (append("cells/auth/console.log"), "changed after it was written: cells/auth/console.log"),
        (append("junit.xml"), "files that were changed after it was written: junit.xml"),
        (remove("cells/auth/console.log"), "has lost files that were written with it: cells/auth"),
        (remove("junit.xml"), "has lost files that were written with it: junit.xml"),
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_set_aside(
    change: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    path = written(tmp_path, results(LOGGED, LATER))
    change(path)
    assert words in doubt_of(path)


OTHER_IMAGE = replace(results().image, sha256="aa" * 32)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (results(WHOLE, image=OTHER_IMAGE), "judged another image (aaaaaaaaaaaa, not 5f5f5f5f5f5f)"),
        (results(WHOLE, image=replace(results().image, sha256="")), "judged another image (none"),
        (results(WHOLE, image=replace(results().image, flavor="release")), "says flavor release"),
        (results(WHOLE, image=replace(results().image, base="debian-13")), "says base debian-13"),
        (results(WHOLE, image=replace(results().image, engine="localai")), "says engine localai"),
        (results(WHOLE, image=replace(results().image, engine_version="1")), "says engine version 1"),
        (results(WHOLE, image=replace(results().image, model="devstral")), "says model devstral"),
        (results(WHOLE, image=replace(results().image, unpinned=("x sha256:ab",))), "other unpinned parts"),
        (results(replace(WHOLE, guest={"SLM_FLAVOR": "release"})), "had a guest of flavor release"),
        (results(WHOLE, days_ago=-1), "starts in the future"),
        (results(WHOLE, days_ago=21), "before the image was built"),
        (results(WHOLE, commit="ab" * 20 + "-dirty"), "uncommitted changes"),
        (results(WHOLE, commit=""), "or without a commit"),
        (results(replace(WHOLE, tests=Counts(passed=9))), "contradicts itself"),
        (
            results(replace(cell("auth", "custom", broken=("a",)), verdict="PASS")),
            "is PASS with failed checks",
        ),
    ],
)
def test_what_doesnt_fit_the_image_is_set_aside(run: Results, words: str, tmp_path: Path) -> None:
    assert words in doubt_of(written(tmp_path, run))


def test_runs_of_the_image_are_found_once_and_the_oldest_first(tmp_path: Path) -> None:
    written(tmp_path, results(WHOLE), "b")
    written(tmp_path, results(LATER, days_ago=3), "c")
    written(tmp_path, results(WHOLE, image=OTHER_IMAGE), "other")
    (tmp_path / "latest").symlink_to("b")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text(f'{{"image": "{IMAGE.sha256}"')
    found = find_runs(tmp_path, IMAGE.sha256)
    assert [path.parent.name for path in found] == ["b", "c"]
    assert [run.path.parent.name for run in read_runs(found, SUBJECT, RULES, now=NOW)] == ["c", "b"]


def test_a_named_file_that_is_no_results_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(HarnessError, match="schema_version None"):
        read_runs([tmp_path / "results.json"], SUBJECT, RULES, now=NOW)


def test_a_run_is_stale_after_the_days_of_the_rules(tmp_path: Path) -> None:
    (run,) = read_runs([written(tmp_path, results(WHOLE, days_ago=7))], SUBJECT, RULES, now=NOW)
    assert not is_stale(run, RULES, NOW)
    assert is_stale(run, RULES, NOW + timedelta(seconds=1))


def test_what_a_newer_harness_adds_to_the_file_is_sealed_too(tmp_path: Path) -> None:
    """The digest is over the file's own words, so a field with a default can't be slipped in."""
    path = written(tmp_path, results(WHOLE))
    plain = json.loads(path.read_text())
    plain["cells"][0]["conditions"] = {"cpu": "another"}
    path.write_text(json.dumps(plain))
    assert "was changed" in broken_seal(path, read_results(path))
