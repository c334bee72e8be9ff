"""LocalAI's tree: what this version is told, and that only whole and fitting parts become one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from saved_image import BACKEND, layer, save

from harness.errors import HarnessError
from harness.image import localai_tree
from harness.image.artifacts import Artifacts, load_artifacts
from harness.image.build import image_key
from harness.image.engine import engine_version
from harness.image.engine_source import SOURCES, engine_source
from harness.image.flavor import known_engines, load_flavor, with_engine
from harness.image.localai_tree import TABLE, build_localai, localai_key, told_to
from harness.image.parts import parts_of

PROGRAM = b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\x00 the program"
BINARY = "local-ai-v3.11.0-linux-amd64"
IMAGE = "local-ai-backends-v3.11.0-cpu-llama-cpp"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder with both parts placed by hand."""
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SLM_OFFLINE", "1")
    folder = tmp_path / "cache" / "downloads"
    folder.mkdir(parents=True)
    (folder / BINARY).write_bytes(PROGRAM)
    save(folder / f"{IMAGE}.tar", [layer(BACKEND, mode=0o644)])
    return folder


@pytest.mark.usefixtures("folder")
def test_the_tree_has_program_backend_and_what_it_is_told() -> None:
    tree = build_localai(load_artifacts())
    assert (tree / "local-ai").read_bytes() == PROGRAM
    assert os.access(tree / "local-ai", os.X_OK)
    assert os.access(tree / "llama-cpp" / "run.sh", os.X_OK), "LocalAI would try to change a read-only file"
    assert (tree / "llama-cpp" / "lib" / "ld.so").is_file()
    assert "LOCALAI_ADDRESS=@ADDRESS@\n" in (tree / "environment").read_text()
    assert "response_regex" in yaml.safe_load((tree / "tool-calls" / "devstral.yaml").read_text())
    assert engine_version(tree) == "v3.11.0"
    told = json.loads((tree / "build-info.json").read_text())
    assert [part["pinned"] for part in told["parts"]] == [False, False]


def test_it_is_assembled_once(folder: Path) -> None:
    tree = build_localai(load_artifacts())
    before = (tree / "build-info.json").stat().st_ino
    assert build_localai(load_artifacts()) == tree
    assert (tree / "build-info.json").stat().st_ino == before
    assert [path.name for path in folder.parent.joinpath("engines").iterdir()] == [tree.name]


def test_the_backend_may_be_a_folder(folder: Path) -> None:
    (folder / f"{IMAGE}.tar").unlink()
    for name, content in BACKEND.items():
        (folder / IMAGE / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / IMAGE / name).write_bytes(content)
    tree = build_localai(load_artifacts())
    assert {str(path.relative_to(tree / "llama-cpp")) for path in (tree / "llama-cpp").rglob("*.so")} == {
        "lib/ld.so"
    }


def test_every_part_is_in_the_keys(folder: Path) -> None:
    known = load_artifacts()
    flavor = with_engine(load_flavor("ci"), "localai")
    keys = [(localai_key(known), image_key(flavor, known))]
    (folder / BINARY).write_bytes(PROGRAM + b"!")
    keys.append((localai_key(known), image_key(flavor, known)))
    save(folder / f"{IMAGE}.tar", [layer({**BACKEND, "more": b""})])
    keys.append((localai_key(known), image_key(flavor, known)))
    assert len(set(keys)) == len({key for key, _ in keys}) == len({key for _, key in keys}) == 3
    assert image_key(load_flavor("ci"), known) not in {key for _, key in keys}


def test_an_error_page_under_the_programs_name_is_told(folder: Path) -> None:
    (folder / BINARY).write_text("<html>Not Found</html>")
    with pytest.raises(HarnessError, match="is not a Linux program for x86-64"):
        build_localai(load_artifacts())
    assert not any(folder.parent.joinpath("engines").iterdir())


def test_a_program_for_another_processor_is_told(folder: Path) -> None:
    (folder / BINARY).write_bytes(PROGRAM.replace(b"\x3e\x00", b"\xb7\x00"))
    with pytest.raises(HarnessError, match="is not a Linux program for x86-64"):
        build_localai(load_artifacts())


def test_an_image_that_is_no_backend_is_told_and_leaves_nothing(folder: Path) -> None:
    save(folder / f"{IMAGE}.tar", [layer({"bin/sh": b"x"})])
    with pytest.raises(HarnessError, match=r"has no run\.sh"):
        build_localai(load_artifacts())
    assert not any(folder.parent.joinpath("engines").iterdir())


def other_version(known: Artifacts, name: str, version: str) -> Artifacts:
    one = replace(known.download(name), version=version)
    return replace(known, downloads={**known.downloads, name: one})


@pytest.mark.usefixtures("folder")
def test_program_and_backend_of_two_versions_are_refused() -> None:
    with pytest.raises(HarnessError, match=r"LocalAI v3\.11\.0 with a backend of v4\.0\.0"):
        localai_key(other_version(load_artifacts(), "localai-backend", "v4.0.0"))


def test_one_edit_moves_all_of_it_to_another_version(tmp_path: Path) -> None:
    text = (TABLE.parent.parent / "artifacts.yaml").read_text()
    assert text.count("v3.11.0") == 1
    path = tmp_path / "artifacts.yaml"
    path.write_text(text.replace("v3.11.0", "v3.12.1"))
    known = load_artifacts(path)
    assert known.download("localai-binary").url.endswith("/v3.12.1/local-ai-v3.12.1-linux-amd64")
    assert known.download("localai-checksums").expected.file == "LocalAI-v3.12.1-checksums.txt"
    assert known.download("localai-backend").image.endswith(":v3.12.1-cpu-llama-cpp")


# ---- what a version is told


@pytest.mark.parametrize(
    ("version", "told", "not_told"),
    [
        ("v3.11.0", {"LOCALAI_PARALLEL_REQUESTS"}, {"LOCALAI_DISABLE_AGENTS", "LOCALAI_DATA_PATH"}),
        ("v3.12.1", {"LOCALAI_PARALLEL_REQUESTS"}, {"LOCALAI_DISABLE_AGENTS"}),
        ("v4.0.0", {"LOCALAI_PARALLEL_REQUESTS", "LOCALAI_DISABLE_MCP"}, {"LOCALAI_AUTO_UPGRADE_BACKENDS"}),
        ("v4.1.0", {"LOCALAI_DISABLE_AGENTS"}, {"LOCALAI_PARALLEL_REQUESTS"}),
        ("v4.10.0", {"LOCALAI_AUTO_UPGRADE_BACKENDS", "LOCALAI_ADDRESS"}, {"LOCALAI_PARALLEL_REQUESTS"}),
    ],
)
def test_each_version_is_told_what_it_knows(version: str, told: set[str], not_told: set[str]) -> None:
    environment = set(told_to(version).environment)
    assert told <= environment
    assert not not_told & environment


def test_a_version_that_reads_devstrals_calls_by_itself_is_not_told_how() -> None:
    assert set(told_to("v4.1.0").tool_calls) == {"devstral"}
    assert (told_to("v4.1.1").tool_calls, told_to("v4.1.1").known_tool_calls) == ({}, ("devstral",))


@pytest.mark.parametrize("version", ["latest", "3.11.0", "v3", "v3.11.0-rc1", ""])
def test_what_is_no_version_is_told(version: str) -> None:
    with pytest.raises(HarnessError, match="is no version of LocalAI"):
        told_to(version)


def test_a_version_from_before_the_table_is_told() -> None:
    with pytest.raises(HarnessError, match=r"v2\.0\.0 is older than v3\.9\.0"):
        told_to("v2.0.0")


def changed_table(tmp_path: Path, **entry: Any) -> Path:
    data = yaml.safe_load(TABLE.read_text())
    data["environment"].append(entry)
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "table.yaml"


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "LOCALAI_ADDRESS", "value": ":8080", "why": "twice"},
        {"name": "LOCALAI_X", "value": "1"},
        {"name": "LOCALAI_X", "value": "1", "why": ""},
        {"name": "LOCALAI_X", "value": "1", "why": "x", "form": "v4.0.0"},
        {"name": "LOCALAI_X", "value": "1", "why": "x", "since": "soon"},
    ],
    ids=["twice", "no why", "an empty why", "an unknown word", "no version"],
)
def test_a_table_that_makes_no_sense_is_told(tmp_path: Path, entry: dict[str, str]) -> None:
    with pytest.raises(HarnessError):
        told_to("v3.11.0", changed_table(tmp_path, **entry))


# ---- as one engine of several


def test_every_engine_of_the_appliance_has_a_source() -> None:
    assert set(SOURCES) == set(known_engines())


def test_an_engine_without_a_source_is_told() -> None:
    with pytest.raises(HarnessError, match="no image can be built with the engine 'none'"):
        engine_source("none")


def test_a_way_of_writing_tool_calls_that_nobody_knows_is_told() -> None:
    flavor = replace(load_flavor("ci"), model_tool_calls="unheard-of")
    with pytest.raises(HarnessError, match="knows no tool calls 'unheard-of'") as caught:
        engine_source("localai").check(flavor, load_artifacts())
    assert "devstral" in caught.value.hint


@pytest.mark.usefixtures("folder")
def test_the_bill_of_materials_has_the_hashes_that_were_found() -> None:
    known = load_artifacts()
    found = engine_source("localai").parts(known)
    told = {one["name"]: one for one in parts_of(with_engine(load_flavor("ci"), "localai"), known, found)}
    assert set(told) == {"localai-binary", "localai-backend", "model-smollm2"}
    assert all(len(one["sha256"]) == 64 for one in told.values())
    assert told["localai-backend"]["origin"].startswith("oci:quay.io/")


@pytest.mark.parametrize("name", ["image_archive.py", "localai_tree.py"])
@pytest.mark.usefixtures("folder")
def test_the_code_that_assembles_is_in_the_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = localai_key(load_artifacts())
    real = localai_tree.folder_inputs

    def changed(path: Path, label: str) -> dict[str, str]:
        return {label: "changed"} if path.name == name else real(path, label)

    monkeypatch.setattr(localai_tree, "folder_inputs", changed)
    assert localai_key(load_artifacts()) != before
