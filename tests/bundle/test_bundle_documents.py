"""CHANGELOG and declarations: what becomes of them in a release, and what a wrong one is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import BUILT, contents

from harness.bundle.declaration import DECLARATION, load_declaration
from harness.bundle.documents import changelog, section_of
from harness.bundle.product import Product, ReleasedImage
from harness.errors import HarnessError
from harness.gate.judge import Answer
from harness.image.flavor import known_flavors

UNRELEASED = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- new\n\n## [0.0.9] - 2026-01-01\n\n- old\n"
RELEASED = UNRELEASED.replace("## [0.0.9]", "## [0.1.0] - 2026-01-20\n\n- this\n\n## [0.0.9]")


@pytest.fixture
def product(answer: Answer) -> Product:
    image = ReleasedImage("x.qcow2", 1, 2, "ab", "cd", "zstd")
    return Product(load_declaration("ci"), answer.subject, contents(), image, (), BUILT, upload=False)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "CHANGELOG.md"
    path.write_text(text)
    return path


def test_what_is_unreleased_becomes_this_version_dated_as_the_image(product: Product, tmp_path: Path) -> None:
    text = changelog(product, written(tmp_path, UNRELEASED))
    assert text == UNRELEASED.replace("## [Unreleased]", "## [0.1.0] - 2026-01-31")
    assert section_of(text, "0.1.0") == "### Added\n\n- new"


def test_a_version_with_a_section_keeps_it_and_loses_what_is_unreleased(
    product: Product, tmp_path: Path
) -> None:
    text = changelog(product, written(tmp_path, RELEASED))
    assert "Unreleased" not in text
    assert section_of(text, "0.1.0") == "- this"
    assert section_of(text, "0.0.9") == "- old"
    assert section_of(text, "9.9") == ""


def test_a_changelog_without_either_is_told(product: Product, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"has a section neither for 0\.1\.0 nor for Unreleased") as caught:
        changelog(product, written(tmp_path, "# Changelog\n"))
    assert "## [0.1.0] - 2026-01-31" in caught.value.hint
    with pytest.raises(HarnessError, match="can't read"):
        changelog(replace(product), tmp_path / "none")


def test_every_flavor_is_declared_with_an_identity_of_its_own() -> None:
    declared = [load_declaration(flavor) for flavor in known_flavors()]
    assert len({one.uuid for one in declared}) == len(declared)
    assert {one.flavor: one.title for one in declared}["release"] == "SLM-Copilot"
    assert {one.flavor: one.profile.name for one in declared} == {"ci": "ci", "release": "recommended"}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "slm_copilot"}, "name: must be words of a to z joined by hyphens"),
    ({"name": "slm-copilot-2"}, "name: must be words of a to z joined by hyphens"),
    ({"publisher": 7}, "publisher: must be a text"),
    ({"opennebula_versions": [6.10, "7.0"]}, "opennebula_versions: must be a list of texts"),
    ({"certification": {"SLM_THREADS": 2}}, "certification: must be a mapping from names to texts"),
    ({"surprise": 1}, "has unknown surprise"),
    ({"flavors": {}}, "has nothing for flavor ci"),
    ({"flavors": {"ci": {"uuid": "x", "title": "t", "profile": "ci"}}}, "uuid: must be a UUID"),
    (
        {"flavors": {"ci": {"uuid": "5CA3777F-2B2F-4A05-A9C9-698D779E492F", "title": "t", "profile": "ci"}}},
        "uuid: must be a UUID in lower case",
    ),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_declaration_is_told(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "appliance.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(DECLARATION.read_text()), **change}))
    with pytest.raises(HarnessError, match=r".") as caught:
        load_declaration("ci", path)
    assert words in caught.value.message


def test_what_certifies_the_appliance_is_accepted_by_it() -> None:
    """The VM of the tests is configured by these: a refused value would fail every example."""
    from harness.parameters import load_parameters

    known = {parameter.name: parameter for parameter in load_parameters()}
    for name, value in load_declaration("ci").certification.items():
        parameter = known[f"ONEAPP_{name}"]
        if parameter.kind in ("integer", "decimal"):
            assert parameter.minimum is not None
            assert parameter.maximum is not None
            assert parameter.minimum <= float(value) <= parameter.maximum
