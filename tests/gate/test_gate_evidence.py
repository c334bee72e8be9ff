"""Which runs are believed: hand-edited, foreign, contradictory and misdated ones are not."""

from __future__ import annotations

import json
import shutil
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
from harness.results.model import Counts, Metric, Results, read_results
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


def beyond_all_numbers(path: Path) -> None:
    path.write_text(path.read_text().replace('"wall_s": 60.0', '"wall_s": 1e999'))


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
        (edited(lambda plain: plain.update(reason="half a \ud800")), "it holds what JSON can't say"),
        (beyond_all_numbers, "it holds what JSON can't say"),
        (resealed(lambda plain: plain["seal"]["files"].update({"a" * 300: "ab" * 32})), "File name too long"),
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
    (run,) = read_runs([path], SUBJECT, RULES, now=NOW)
    assert words in run.doubt
    assert run.untold


def told(value: float, better: str = "higher") -> Metric:
    return Metric("ratio", "ratio", value, target=0.98, verdict="PASS", better=better)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (results(replace(WHOLE, tests=Counts(passed=9))), "the counts of ci-auth-selfsigned aren't those of"),
        (
            results(replace(cell("auth", "custom", broken=("a",)), verdict="PASS")),
            "is PASS with failed checks",
        ),
        (results(replace(WHOLE, fault="no disk")), "is PASS with a fault"),
        (results(replace(WHOLE, interrupted=True)), "is PASS with an interruption"),
        (
            results(replace(WHOLE, metrics=(replace(told(0.9), verdict="FAIL"),))),
            "is PASS with a missed target",
        ),
        (results(replace(WHOLE, metrics=(told(0.9),))), "ratio of ci-auth-selfsigned is PASS and misses"),
        (results(replace(WHOLE, metrics=(told(0.99, "lower"),))), "is PASS and misses its target"),
        (
            results(replace(WHOLE, suites=(replace(WHOLE.suites[0], required=4),))),
            "is PASS with too few checks",
        ),
        (
            results(
                replace(WHOLE, checks=(WHOLE.checks[0], *WHOLE.checks[1:2] * 2)),
            ),
            "has a check twice",
        ),
        (results(WHOLE, verdict="FAIL"), "it says FAIL, PASS follows from its cells"),
        (
            results(cell("auth", "custom", broken=("a",)), verdict="PASS"),
            "it says PASS, FAIL follows from its cells",
        ),
    ],
)
def test_what_contradicts_itself_is_set_aside(run: Results, words: str, tmp_path: Path) -> None:
    """Edited and sealed anew, it still has to fit together."""
    (read,) = read_runs([written(tmp_path, run)], SUBJECT, RULES, now=NOW)
    assert "contradicts itself: " in read.doubt
    assert words in read.doubt
    assert read.untold


@pytest.mark.parametrize("metric", [told(0.98), told(0.99), told(0.97, "lower"), told(9.0, "")])
def test_a_target_that_is_reached_contradicts_nothing(metric: Metric, tmp_path: Path) -> None:
    assert doubt_of(written(tmp_path, results(replace(WHOLE, metrics=(metric,))))) == ""


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
    (tmp_path / "broken" / "results.json").write_text('{"image": "of another harness"')
    found = find_runs(tmp_path, IMAGE.sha256)
    assert [path.parent.name for path in found] == ["b", "c"]
    assert [run.path.parent.name for run in read_runs(found, SUBJECT, RULES, now=NOW)] == ["c", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"image": "SHA256"', "is not JSON"),
        ('{"schema_version": 0, "image": "SHA256"}', "has schema_version 0; this harness reads 1"),
        ('{"schema_version": 1, "image": "SHA256"}', "doesn't follow the results schema"),
        ("[" * 100_000 + "SHA256", "is nested too deep"),
    ],
)
def test_a_run_that_names_the_image_and_cant_be_read_isnt_passed_over(
    text: str, words: str, tmp_path: Path
) -> None:
    """It may be the one that failed."""
    written(tmp_path, results(WHOLE), "good")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text(text.replace("SHA256", IMAGE.sha256))
    with pytest.raises(HarnessError, match="a run names this image and can't be read") as caught:
        find_runs(tmp_path, IMAGE.sha256)
    assert words in caught.value.message
    assert f"move {tmp_path / 'broken'} away" in caught.value.hint


def test_a_run_in_two_folders_is_one_run(tmp_path: Path) -> None:
    path = written(tmp_path, results(WHOLE), "a")
    shutil.copytree(path.parent, tmp_path / "b")
    first, copied = read_runs([path, tmp_path / "b" / path.name], SUBJECT, RULES, now=NOW)
    assert (first.doubt, copied.doubt) == ("", f"is a copy of {path}")
    assert not copied.untold


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(HarnessError, match="symbolic links lead in a circle"):
        read_runs([tmp_path / "a"], SUBJECT, RULES, now=NOW)


def test_a_time_that_there_isnt_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, results(WHOLE))
    edited(lambda plain: plain.update(started="2026-02-30T12:00:00Z"))(path)
    with pytest.raises(HarnessError, match="there is no time 2026-02-30T12:00:00Z"):
        read_runs([path], SUBJECT, RULES, now=NOW)


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
