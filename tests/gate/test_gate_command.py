"""`slm gate` on a tiny image with runs on disk: the exit codes, and what is printed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from judged import BOOTS, IMAGE, LATER, PART, WHOLE, cell, results, written

from harness.cli.gate import GateRequest, ask
from harness.cli.main import main
from harness.errors import HarnessError
from harness.gate import rules as gate_rules
from harness.image.build import SIDECAR
from harness.matrix.suites import Share, Suite
from harness.results.model import Results

FLAVOR = {
    "upload": False,
    "engines": ["llama-server"],
    "oldest_days": 7,
    "passes_after_a_fail": 2,
    "clean_commit": False,
    "cells": [
        {
            "suite": "auth",
            "part": "whole",
            "profiles": ["ci"],
            "tls_modes": ["selfsigned", "custom"],
            "places": ["qemu/tcg"],
        },
    ],
    "metrics": [],
}


class Desk:
    """A folder with an image, gate.yaml and reports; the commands run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder / "image" / "slm-copilot-ci.qcow2"
        self.image.parent.mkdir()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.image, "1M"], check=True, timeout=30)
        self.sha256 = hashlib.sha256(self.image.read_bytes()).hexdigest()
        self.rules = folder / "gate.yaml"
        self.rules.write_text(yaml.safe_dump({"flavors": {"ci": FLAVOR}}))
        self.sidecar()

    def sidecar(self, **changed: object) -> None:
        facts = {
            "sha256": self.sha256,
            "virtual_size": 2**20,
            "flavor": IMAGE.flavor,
            "base": IMAGE.base,
            "engine": IMAGE.engine,
            "engine_version": IMAGE.engine_version,
            "model": IMAGE.model,
            "built": (datetime.now(UTC) - timedelta(days=9)).isoformat(timespec="seconds"),
            "parts": [vars(PART)],
        }
        (self.image.parent / SIDECAR).write_text(json.dumps({**facts, **changed}))

    def run_of(self, run: Results, name: str = "run", *, minutes_ago: float = 60) -> Path:
        image = replace(run.image, sha256=self.sha256, path=str(self.image))
        started = (datetime.now(UTC) - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return written(self.folder / "reports", replace(run, image=image, started=started), name)

    def gate(self, *options: str) -> int:
        return main(["gate", "--rules", str(self.rules), *options])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("SLM_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    share = Share(minimum=2)
    monkeypatch.setattr(gate_rules, "load_suites", lambda: {"auth": Suite("auth", tmp_path, whole=share)})
    return Desk(tmp_path)


def test_pass_is_0(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run_of(results(WHOLE, LATER))
    assert desk.gate("--image", str(desk.image)) == 0
    printed = capsys.readouterr().out
    assert f"PASS: {desk.image}" in printed
    assert "auth, ci, custom" in printed


def test_fail_is_1(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run_of(results(WHOLE, cell("auth", "custom", ran=("a",), broken=("a",))))
    assert desk.gate("--image", str(desk.image)) == 1
    assert "auth, ci, custom: failed in the run of" in capsys.readouterr().out


def test_inconclusive_is_3(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run_of(results(WHOLE, BOOTS))
    assert desk.gate("--image", str(desk.image)) == 3
    assert "auth, ci, custom: no run has it" in capsys.readouterr().out


def test_an_edited_log_is_3_and_named(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    path = desk.run_of(results(replace(WHOLE, files=("cells/a/console.log",)), LATER))
    assert desk.gate("--image", str(desk.image)) == 0
    (path.parent / "cells/a/console.log").write_text("ready\n")
    assert desk.gate("--image", str(desk.image)) == 3
    assert f"set aside: {path}: it lies beside files that were changed" in capsys.readouterr().out


def test_no_results_of_the_image_is_2(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    written(desk.folder / "reports", results(WHOLE, LATER))
    assert desk.gate("--image", str(desk.image)) == 2
    assert "has judged this image" in capsys.readouterr().err


def test_results_of_another_image_that_are_named_are_3(desk: Desk) -> None:
    other = written(desk.folder / "elsewhere", results(WHOLE, LATER))
    assert desk.gate("--image", str(desk.image), "--results", str(other.parent)) == 3


def test_unreadable_results_are_2(desk: Desk) -> None:
    broken = desk.folder / "results.json"
    broken.write_text("{")
    assert desk.gate("--image", str(desk.image), "--results", str(broken)) == 2
    assert desk.gate("--image", str(desk.folder / "none.qcow2")) == 2


def test_without_an_image_the_one_that_the_results_judged_is_meant(desk: Desk) -> None:
    run = desk.run_of(results(WHOLE, LATER))
    assert desk.gate("--results", str(run)) == 0
    desk.image.rename(desk.folder / "moved.qcow2")
    assert desk.gate("--results", str(run)) == 2


def test_several_results_together(desk: Desk) -> None:
    one, other = desk.run_of(results(WHOLE), "a b"), desk.run_of(results(LATER), "c")
    assert desk.gate("--results", f"'{one.parent}' {other}") == 0
    assert desk.gate("--results", str(other)) == 3


def test_a_folder_of_runs_means_those_of_the_image(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run_of(results(WHOLE), "a")
    desk.run_of(results(LATER), "b")
    (desk.folder / "reports" / "latest").symlink_to("b")
    reports = str(desk.folder / "reports")
    assert desk.gate("--results", reports) == 0
    written(desk.folder / "reports", results(WHOLE), "of another image")
    assert desk.gate("--results", reports) == 2
    assert "judged several images" in capsys.readouterr().err
    assert desk.gate("--results", reports, "--image", str(desk.image)) == 0
    assert "set aside" not in capsys.readouterr().out
    assert desk.gate("--results", str(desk.folder / "image"), "--image", str(desk.image)) == 2
    assert "neither results.json nor a folder with one" in capsys.readouterr().err


def test_a_folder_with_runs_of_other_images_only_is_2(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = desk.folder / "elsewhere"
    written(elsewhere, results(WHOLE))
    assert desk.gate("--image", str(desk.image), "--results", str(elsewhere)) == 2
    assert f"no run in {elsewhere} has judged this image" in capsys.readouterr().err


def test_a_path_with_a_blank_needs_no_quotes_where_it_is_there(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    run = desk.run_of(results(WHOLE, LATER), "a b")
    assert desk.gate("--results", str(run.parent)) == 0
    assert desk.gate("--results", str(run.parent) + "c") == 2
    assert "a path with a blank in it needs quotes" in capsys.readouterr().err


def test_of_what_is_there_and_wasnt_asked_for_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    good = desk.run_of(results(WHOLE, LATER), "good")
    bad = desk.run_of(results(WHOLE, cell("auth", "custom", broken=("a",))), "bad")
    assert desk.gate("--results", str(good)) == 0
    printed = capsys.readouterr().out
    assert f"left out: {bad} judged this image on" in printed
    assert ": FAIL" in printed
    assert f"left out: {good}" not in printed


def test_a_newer_run_that_fails_is_1_whatever_its_name(desk: Desk) -> None:
    desk.run_of(results(WHOLE, LATER), "z")
    assert desk.gate("--image", str(desk.image)) == 0
    desk.run_of(results(cell("auth", "selfsigned", broken=("a",)), LATER), "a", minutes_ago=1)
    assert desk.gate("--image", str(desk.image)) == 1


def test_a_failure_isnt_edited_away(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run_of(results(WHOLE, LATER), "good")
    bad = desk.run_of(results(cell("auth", "selfsigned", broken=("a",)), LATER), "bad", minutes_ago=1)
    bad.write_text(bad.read_text().replace('"verdict": "FAIL"', '"verdict": "PASS"'))
    assert desk.gate("--image", str(desk.image)) == 3
    assert f"runs: what {bad.parent} showed can't be told any more" in capsys.readouterr().out
    bad.write_text(bad.read_text()[:-9])
    assert desk.gate("--image", str(desk.image)) == 2
    assert f"{bad} is not JSON" in capsys.readouterr().err


def test_one_pass_in_two_folders_doesnt_outweigh_a_failure(desk: Desk) -> None:
    desk.run_of(results(cell("auth", "selfsigned", broken=("a",)), LATER), "red")
    green = desk.run_of(results(WHOLE, LATER), "green", minutes_ago=1)
    shutil.copytree(green.parent, green.parent.with_name("copy"))
    assert desk.gate("--image", str(desk.image)) == 3
    desk.run_of(results(WHOLE, LATER), "again", minutes_ago=0)
    assert desk.gate("--image", str(desk.image)) == 0


@pytest.mark.parametrize(
    ("option", "asked", "own"),
    [("flavor", "release", "ci"), ("base", "debian-13", "debian-12"), ("engine", "localai", "llama-server")],
)
def test_an_image_of_another_kind_than_was_asked_for_is_2(
    option: str, asked: str, own: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    run = desk.run_of(results(WHOLE, LATER))
    for named in (("--image", str(desk.image)), ("--results", str(run))):
        assert desk.gate(f"--{option}", own, *named) == 0
        assert desk.gate(f"--{option}", asked, *named) == 2
        assert f"is of {option} {own}, {option} {asked} was asked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("virtual_size", None, "virtual_size must be a whole number, not 'None'"),
        ("unpinned", 7, "unpinned must be a list, not '7'"),
        ("engine", None, "engine must be a text"),
        ("parts", "none", "parts must be a list"),
        ("built", 1, "built must be a text"),
    ],
)
def test_papers_that_no_build_writes_are_2(
    name: str, value: object, words: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.run_of(results(WHOLE, LATER))
    desk.sidecar(**{name: value})
    assert desk.gate("--image", str(desk.image)) == 2
    assert words in capsys.readouterr().err


def test_what_a_flavors_image_lacks_to_be_built_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The product's parts must be placed by hand first."""
    assert desk.gate("--flavor", "release") == 2
    said = capsys.readouterr().err
    assert "no image of flavor release on ubuntu-24.04 is built from this checkout: " in said
    assert "or name an image: make gate IMAGE=..." in said


def test_what_cant_be_read_is_told_where_there_is_nothing_else(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk.folder / "reports" / "x").mkdir(parents=True)
    (desk.folder / "reports" / "x" / "results.json").write_text("{")
    assert desk.gate("--image", str(desk.image)) == 2
    assert "reports/x/results.json is not JSON" in capsys.readouterr().err


def test_a_release_is_asked_by_no_other_rules() -> None:
    """Its notes say that gate.yaml was asked."""
    with pytest.raises(SystemExit) as caught:
        main(["release", "--rules", "gate.yaml"])
    assert caught.value.code == 2


def test_a_changed_image_has_no_results_any_more(desk: Desk) -> None:
    desk.run_of(results(WHOLE, LATER))
    subprocess.run(["qemu-img", "resize", "-q", desk.image, "2M"], check=True, timeout=30)
    assert desk.gate("--image", str(desk.image)) == 2


def test_without_an_image_in_the_cache_it_is_told_how_to_get_one(desk: Desk) -> None:
    with pytest.raises(HarnessError, match="no image of flavor ci on debian-12 is built") as caught:
        ask(GateRequest(rules=desk.rules))
    assert "make test-image" in caught.value.hint
