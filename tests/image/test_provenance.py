"""Parts with and without a hash: who vouches for what, and what is never taken on trust."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from saved_image import BACKEND, layer, save

from harness.errors import HarnessError
from harness.image import provenance
from harness.image.artifacts import Artifacts, load_artifacts
from harness.image.download import Expected
from harness.image.provenance import find_sum, obtain, obtain_all

PROGRAM = b"\x7fELF the program"
SHA256 = hashlib.sha256(PROGRAM).hexdigest()
BINARY = "local-ai-v3.11.0-linux-amd64"
SUMS = "LocalAI-v3.11.0-checksums.txt"
IMAGE = "local-ai-backends-v3.11.0-cpu-llama-cpp"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLM_OFFLINE", raising=False)
    monkeypatch.setattr(provenance, "fetch_file", lambda *_: pytest.fail("the network was asked"))
    folder = tmp_path / "cache" / "downloads"
    folder.mkdir(parents=True)
    return folder


def with_pin(name: str, content: bytes = b"", image_id: str = "") -> Artifacts:
    """artifacts.yaml with a hash filled in."""
    known = load_artifacts()
    one = known.download(name)
    pinned = replace(
        one,
        expected=Expected(one.expected.file, len(content), hashlib.sha256(content).hexdigest())
        if content
        else one.expected,
        image_id=image_id,
    )
    return replace(known, downloads={**known.downloads, name: pinned})


def sums_for(content: bytes, file: str = BINARY) -> bytes:
    return f"{'0' * 64}  other\n{hashlib.sha256(content).hexdigest()}  {file}\n".encode()


# ---- nobody vouches for it


def test_what_nobody_vouches_for_is_not_downloaded(folder: Path) -> None:
    with pytest.raises(HarnessError, match=r"no sha256 to verify a download by \(https://") as caught:
        obtain("localai-binary", load_artifacts())
    assert f"place it as {folder / BINARY}" in caught.value.hint
    assert list(folder.iterdir()) == []


def test_a_file_placed_by_hand_is_used_and_said_to_be_unpinned(folder: Path) -> None:
    (folder / BINARY).write_bytes(PROGRAM)
    part = obtain("localai-binary", load_artifacts())
    assert (part.path, part.digest, part.pinned) == (folder / BINARY, SHA256, False)
    assert part.label == f"{BINARY} sha256:{SHA256}"
    assert f"localai-binary: size: {len(PROGRAM)}, sha256: {SHA256}" in part.note


def test_a_file_that_was_changed_has_another_hash(folder: Path) -> None:
    path = folder / BINARY
    path.write_bytes(PROGRAM)
    first = obtain("localai-binary", load_artifacts()).digest
    path.write_bytes(PROGRAM + b"!")
    os.utime(path, ns=(1, 1))
    assert obtain("localai-binary", load_artifacts()).digest != first


# ---- a list of sums


def test_a_list_placed_by_hand_verifies_but_does_not_pin(folder: Path) -> None:
    (folder / BINARY).write_bytes(PROGRAM)
    (folder / SUMS).write_bytes(sums_for(PROGRAM))
    part = obtain("localai-binary", load_artifacts())
    assert (part.digest, part.pinned) == (SHA256, False)
    assert SUMS in part.note


def test_a_list_that_artifacts_yaml_vouches_for_pins(folder: Path) -> None:
    (folder / BINARY).write_bytes(PROGRAM)
    (folder / SUMS).write_bytes(sums_for(PROGRAM))
    part = obtain("localai-binary", with_pin("localai-checksums", sums_for(PROGRAM)))
    assert (part.digest, part.pinned) == (SHA256, True)


@pytest.mark.parametrize("vouched", [True, False])
def test_a_file_that_the_list_does_not_have_is_refused_and_left(folder: Path, vouched: bool) -> None:
    (folder / BINARY).write_bytes(b"another")
    (folder / SUMS).write_bytes(sums_for(PROGRAM))
    known = with_pin("localai-checksums", sums_for(PROGRAM)) if vouched else load_artifacts()
    with pytest.raises(HarnessError, match=f"is not the file that {SUMS} lists"):
        obtain("localai-binary", known)
    assert (folder / BINARY).read_bytes() == b"another"


def test_a_list_that_is_not_the_pinned_one_is_refused(folder: Path) -> None:
    (folder / BINARY).write_bytes(b"another")
    (folder / SUMS).write_bytes(sums_for(b"another"))
    with pytest.raises(HarnessError, match=r"is not the file artifacts\.yaml asks for"):
        obtain("localai-binary", with_pin("localai-checksums", sums_for(PROGRAM)))


def test_a_download_is_verified_by_the_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / SUMS).write_bytes(sums_for(PROGRAM))
    asked: list[Expected] = []

    def fetch_file(expected: Expected, _source: object) -> Path:
        asked.append(expected)
        expected.path.write_bytes(PROGRAM)
        return expected.path

    monkeypatch.setattr(provenance, "fetch_file", fetch_file)
    monkeypatch.setattr(provenance, "announced_size", lambda _: len(PROGRAM))
    assert not obtain("localai-binary", load_artifacts()).pinned
    assert asked == [Expected(BINARY, len(PROGRAM), SHA256)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no sha256 sum"),
        (f"{SHA256}  other\n", "has no sha256 sum"),
        (f"{SHA256[:-1]}  {BINARY}\n", "has no sha256 sum"),
        (f"{SHA256}  {BINARY}\n{'0' * 64}  {BINARY}\n", "has more than one sha256 sum"),
        ("<html>not found</html>\n", "has no sha256 sum"),
    ],
)
def test_a_list_that_does_not_settle_it_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "sums").write_text(text)
    with pytest.raises(HarnessError, match=told):
        find_sum(tmp_path / "sums", BINARY)


@pytest.mark.parametrize("line", [f"{SHA256}  {BINARY}", f"{SHA256} *{BINARY}", f"{SHA256}\t{BINARY}\r"])
def test_lists_are_read_as_their_tools_write_them(tmp_path: Path, line: str) -> None:
    (tmp_path / "sums").write_text(line + "\n")
    assert find_sum(tmp_path / "sums", BINARY) == SHA256


# ---- a hash in artifacts.yaml


def test_a_hash_in_artifacts_yaml_pins(folder: Path) -> None:
    (folder / BINARY).write_bytes(PROGRAM)
    part = obtain("localai-binary", with_pin("localai-binary", PROGRAM))
    assert (part.digest, part.pinned, part.note) == (SHA256, True, "")


def test_another_file_under_a_pinned_name_is_refused(folder: Path) -> None:
    (folder / BINARY).write_bytes(b"another")
    with pytest.raises(HarnessError, match=r"is not the file artifacts\.yaml asks for"):
        obtain("localai-binary", with_pin("localai-binary", PROGRAM))


# ---- the backend's image


def test_an_image_is_pinned_by_its_id_whatever_tool_saved_it(folder: Path) -> None:
    image_id = save(folder / f"{IMAGE}.tar", [layer(BACKEND)], zipped=True)
    assert obtain("localai-backend", load_artifacts()).label == f"{IMAGE}.tar sha256:{image_id}"
    assert not obtain("localai-backend", load_artifacts()).pinned
    assert obtain("localai-backend", with_pin("localai-backend", image_id=image_id)).pinned
    with pytest.raises(HarnessError, match=f"its id is sha256:{image_id}, expected sha256:{'0' * 64}"):
        obtain("localai-backend", with_pin("localai-backend", image_id="0" * 64))


def test_a_folder_is_used_and_can_not_be_pinned(folder: Path) -> None:
    (folder / IMAGE).mkdir()
    (folder / IMAGE / "run.sh").write_text("#!/bin/bash\n")
    part = obtain("localai-backend", with_pin("localai-backend", image_id="0" * 64))
    assert (part.path, part.pinned) == (folder / IMAGE, False)
    (folder / IMAGE / "run.sh").write_text("#!/bin/bash\nother\n")
    assert obtain("localai-backend", load_artifacts()).digest != part.digest


def test_archive_and_folder_at_once_are_refused(folder: Path) -> None:
    (folder / IMAGE).mkdir()
    save(folder / f"{IMAGE}.tar", [layer(BACKEND)])
    with pytest.raises(HarnessError, match=r"both .* are there"):
        obtain("localai-backend", load_artifacts())


def test_a_missing_image_comes_with_the_command_that_saves_it(folder: Path) -> None:
    with pytest.raises(HarnessError, match="localai-backend is missing") as caught:
        obtain("localai-backend", load_artifacts())
    assert "docker://quay.io/go-skynet/local-ai-backends:v3.11.0-cpu-llama-cpp" in caught.value.hint
    assert str(folder) in caught.value.hint


# ---- all of an image


def test_offline_and_by_hand_all_parts_of_localai_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLM_OFFLINE", "1")
    (folder / BINARY).write_bytes(PROGRAM)
    save(folder / f"{IMAGE}.tar", [layer(BACKEND)])
    parts = obtain_all("ci", "localai", names=["localai-binary", "localai-backend"])
    assert [part.pinned for part in parts] == [False, False]


def test_an_engine_that_is_not_there_is_told() -> None:
    with pytest.raises(HarnessError, match="there is no engine 'none'") as caught:
        obtain_all("ci", "none")
    assert "llama-server" in caught.value.hint


@pytest.mark.parametrize("asked", ["", "1"])
def test_the_second_model_is_missing_only_where_the_builder_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path))
    monkeypatch.setenv("SLM_OFFLINE", "1")
    monkeypatch.setenv("SLM_SECOND_MODEL", asked)
    with pytest.raises(HarnessError, match="is missing") as caught:
        obtain_all("release")
    told = f"{caught.value.message} {caught.value.hint}"
    assert ("qwen2.5-coder-7b-instruct-q4_k_m.gguf" in told) is bool(asked)
