"""Flavors as they are and as they must not be."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.errors import HarnessError
from harness.gate.rules import load_rules
from harness.image.artifacts import load_artifacts
from harness.image.base_definition import load_base
from harness.image.build_guest import load_settings
from harness.image.flavor import Flavor, SecondModel, known_flavors, load_flavor
from harness.locations import MIB
from harness.profiles import load_profiles

GOOD = {
    "bases": ["debian-12", "debian-13"],
    "engine": "llama-server",
    "model": {"artifact": "model-tiny", "id": "tiny-1b", "name": "Tiny 1B"},
    "provision": ["20-b.sh", "10-a.sh"],
}


def write(folder: Path, data: object, name: str = "tiny") -> None:
    (folder / f"{name}.yaml").write_text(data if isinstance(data, str) else yaml.safe_dump(data))


def test_a_flavor_is_read_as_written(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert load_flavor("tiny", tmp_path) == Flavor(
        name="tiny",
        base="debian-12",
        engine="llama-server",
        model_artifact="model-tiny",
        model_id="tiny-1b",
        model_name="Tiny 1B",
        provision=("20-b.sh", "10-a.sh"),
    )


@pytest.mark.parametrize("name", known_flavors())
def test_every_flavor_of_the_project_has_all_its_parts(name: str) -> None:
    flavor = load_flavor(name)
    artifacts = load_artifacts()
    assert flavor.model_artifact in {one.name for one in artifacts.for_flavor(name)}
    assert load_base(flavor.base).packages
    assert load_settings(flavor).build_memory_mib >= 512


@pytest.mark.parametrize("name", known_flavors())
def test_every_profile_that_the_gate_asks_for_holds_the_flavors_disk(name: str) -> None:
    """A disk can't be made smaller than its image: such a cell could never be run, nor such a VM be made."""
    settings, profiles = load_settings(load_flavor(name)), load_profiles()
    smallest = min(profiles[rule.profile].disk_gib for rule in load_rules()[name].cells)
    assert settings.disk_size_mib <= smallest * 1024
    # The harness makes disks of whole GiB, Packer's plugin of MiB: both have to make the same.
    assert settings.disk_size_mib % 1024 == 0


def test_the_products_disk_has_the_promised_size_and_is_compressed() -> None:
    settings = load_settings(load_flavor("release"))
    assert 40e9 <= settings.disk_size_mib * MIB <= 50e9
    assert settings.compress


SECOND = {"artifact": "model-small", "id": "small-7b", "name": "Small 7B"}


@pytest.mark.parametrize(
    ("word", "asked"), [("", False), ("0", False), ("no", False), ("1", True), ("Yes", True)]
)
def test_a_second_model_is_in_the_image_only_where_the_builder_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, asked: bool
) -> None:
    write(tmp_path, {**GOOD, "second_model": SECOND})
    monkeypatch.setenv("SLM_SECOND_MODEL", word)
    second = load_flavor("tiny", tmp_path).second_model
    assert second == (SecondModel("model-small", "small-7b", "Small 7B") if asked else None)
    assert second is None or second.file == "small-7b.gguf"


def test_a_second_model_that_a_flavor_does_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GOOD)
    monkeypatch.setenv("SLM_SECOND_MODEL", "1")
    with pytest.raises(HarnessError, match="SLM_SECOND_MODEL is set, and flavor tiny has no second model"):
        load_flavor("tiny", tmp_path)


def test_the_second_model_of_flavor_release_is_known_and_no_part_of_other_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifacts = load_artifacts()
    assert not any(one.second_model for one in artifacts.for_flavor("release"))
    monkeypatch.setenv("SLM_SECOND_MODEL", "1")
    flavor = load_flavor("release")
    assert flavor.second_model is not None
    known = artifacts.download(flavor.second_model.artifact)
    assert known.second_model
    assert flavor.engine in known.engines
    assert not known.is_vouched_for, "its size and hash are filled in: say so in docs/localai.md"


def test_another_base_of_the_flavor_can_be_named(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert load_flavor("tiny", tmp_path, base="debian-13").base == "debian-13"


def test_a_base_that_the_flavor_is_not_made_on_is_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(HarnessError, match=r"flavor tiny is not made on base 'ubuntu-24\.04'") as caught:
        load_flavor("tiny", tmp_path, base="ubuntu-24.04")
    assert caught.value.hint == "its bases: debian-12, debian-13"


def test_flavor_ci_is_known() -> None:
    assert "ci" in known_flavors()


@pytest.mark.parametrize("name", ["missing", "", "Tiny", "../tiny", "tiny.yaml", "tiny\n", "x" * 32])
def test_an_unknown_name_is_told_with_the_known_ones(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "flavors"
    folder.mkdir()
    write(folder, GOOD)
    write(folder, GOOD, "big")
    # Names that lead to a file are no more known than others.
    for other in ("Tiny", "tiny.yaml", "x" * 32):
        write(folder, GOOD, other)
    write(tmp_path, GOOD)
    with pytest.raises(HarnessError, match="there is no flavor") as caught:
        load_flavor(name, folder)
    assert "tiny" in caught.value.hint
    assert "big" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="empty"),
        pytest.param("bases: [debian-12\nengine: {", id="no-yaml"),
        pytest.param("just text", id="text"),
        pytest.param("- a\n- b\n", id="list"),
        pytest.param({**GOOD, "model": "tiny"}, id="model-is-a-name"),
        pytest.param({**GOOD, "model": None}, id="model-is-empty"),
        pytest.param({**GOOD, "provision": []}, id="no-scripts"),
        pytest.param({**GOOD, "provision": "10-a.sh"}, id="scripts-are-text"),
        pytest.param({**GOOD, "bases": "debian-12"}, id="bases-are-text"),
        pytest.param({**GOOD, "bases": []}, id="no-base"),
        *[
            pytest.param({key: value for key, value in GOOD.items() if key != missing}, id=f"no-{missing}")
            for missing in GOOD
        ],
        pytest.param({**GOOD, "model": {"id": "tiny-1b", "name": "Tiny 1B"}}, id="no-artifact"),
    ],
)
def test_a_broken_file_is_told_in_one_line(tmp_path: Path, data: object) -> None:
    write(tmp_path, data)
    with pytest.raises(HarnessError, match=r"is not a flavor: .") as caught:
        load_flavor("tiny", tmp_path)
    assert str(tmp_path / "tiny.yaml") in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_that_is_no_text_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_bytes(b"\xff\xfe\x00base")
    with pytest.raises(HarnessError, match="is not a flavor: ") as caught:
        load_flavor("tiny", tmp_path)
    assert "\n" not in caught.value.message
