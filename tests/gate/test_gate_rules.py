"""gate.yaml as it stands, and what a wrong one is told."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import HarnessError
from harness.gate import rules
from harness.gate.rules import FlavorRules, load_rules
from harness.image.flavor import known_flavors
from harness.matrix.suites import Suite, load_suites
from harness.profiles import Profile, load_profiles

CELL = {
    "suite": "conformance",
    "part": "whole",
    "profiles": ["ci"],
    "tls_modes": ["selfsigned"],
    "places": ["qemu/kvm"],
}
METRIC = {"name": "ready", "suite": "conformance", "profile": "ci", "verdicts": ["PASS"]}
FLAVOR = {
    "upload": False,
    "engines": ["llama-server"],
    "oldest_days": 7,
    "passes_after_a_fail": 2,
    "clean_commit": True,
    "cells": [CELL],
    "metrics": [METRIC],
}


@pytest.fixture(scope="module")
def gate() -> dict[str, FlavorRules]:
    return load_rules()


def written(tmp_path: Path, flavor: object) -> Path:
    path = tmp_path / "gate.yaml"
    path.write_text(yaml.safe_dump({"flavors": {"ci": flavor}}))
    return path


def test_the_gate_has_rules_for_every_flavor(gate: dict[str, FlavorRules]) -> None:
    assert set(known_flavors()) <= set(gate)


def test_only_the_product_is_for_upload(gate: dict[str, FlavorRules]) -> None:
    assert {name: one.upload for name, one in gate.items()} == {"ci": False, "release": True}


def test_the_product_counts_virtual_machines_and_clean_commits_only(gate: dict[str, FlavorRules]) -> None:
    release = gate["release"]
    assert {place for cell in release.cells for place in cell.places} == {"qemu/kvm"}
    assert release.clean_commit
    assert "localai" in release.engines


def test_every_tls_mode_is_asked_for(gate: dict[str, FlavorRules]) -> None:
    for one in gate.values():
        assert {cell.tls_mode for cell in one.cells} == {"selfsigned", "custom", "letsencrypt"}


def test_the_minimum_is_that_of_the_suites(gate: dict[str, FlavorRules]) -> None:
    suite = load_suites()["conformance"]
    whole, *later = [one for one in gate["ci"].cells if one.suite == "conformance"]
    assert whole.minimum == suite.whole.minimum
    assert "test_openai_api.py" in whole.files
    assert "test_auth.py" not in whole.files
    assert suite.later_modes is not None
    assert [one.minimum for one in later] == [suite.later_modes.minimum] * 2
    assert [one.files for one in later] == [frozenset()] * 2


def test_a_line_stands_for_every_combination(tmp_path: Path) -> None:
    line = {**CELL, "profiles": ["ci", "minimum"], "tls_modes": ["selfsigned", "custom"]}
    (ci,) = load_rules(written(tmp_path, {**FLAVOR, "cells": [line]})).values()
    assert [(one.profile, one.tls_mode) for one in ci.cells] == [
        ("ci", "selfsigned"), ("ci", "custom"), ("minimum", "selfsigned"), ("minimum", "custom"),
    ]  # fmt: skip


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cells": []}, "without a cell anything would pass"),
    ({"cells": [CELL, CELL]}, "conformance, ci, selfsigned is asked for twice"),
    ({"cells": [{**CELL, "suite": "poetry"}]}, "cells, line 1, suite: must be one of conformance"),
    ({"cells": [{**CELL, "part": "half"}]}, "part: must be one of whole, later_modes for conformance"),
    ({"cells": [{**CELL, "part": "on_vm"}]}, "part: must be one of whole, later_modes for conformance"),
    ({"cells": [{**CELL, "places": ["qemu"]}]}, "places: must be out of qemu/kvm, qemu/tcg, nspawn/native"),
    ({"cells": [{**CELL, "tls_modes": ["none"]}]}, "tls_modes: must be out of selfsigned"),
    (
        {"cells": [{**CELL, "profiles": ["huge"]}]},
        "profiles: must be out of minimum, recommended, optimal, ci, not 'huge'",
    ),
    ({"cells": [{**CELL, "minimum": 3}]}, "has unknown minimum"),
    ({"metrics": [{**METRIC, "verdicts": ["FAIL"]}]}, "verdicts: must be out of PASS, MEASURED"),
    ({"metrics": [{**METRIC, "suite": "boots"}]}, "no cell of suite boots in profile ci is asked for"),
    ({"metrics": [{**METRIC, "labels": []}]}, "labels: must be a mapping"),
    ({"oldest_days": 0}, "oldest_days: must be a whole number from 1 to 365"),
    ({"passes_after_a_fail": 0}, "passes_after_a_fail: must be a whole number from 1"),
    ({"upload": "no"}, "upload: must be true or false"),
    ({"engines": []}, "engines: must be a list of words"),
    ({"surprise": 1}, "has unknown surprise"),
]


@cache
def known() -> tuple[dict[str, Suite], dict[str, Profile]]:
    return load_suites(), load_profiles()


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_rules_are_told(
    change: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Read once: they are the same for each of these.
    suites, profiles = known()
    monkeypatch.setattr(rules, "load_suites", lambda: suites)
    monkeypatch.setattr(rules, "load_profiles", lambda: profiles)
    with pytest.raises(HarnessError, match=r".") as caught:
        load_rules(written(tmp_path, {**FLAVOR, **change}))
    assert words in caught.value.message
    assert "\n" not in caught.value.message
