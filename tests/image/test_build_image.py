"""build_image() with stubs for what takes minutes, and load_image() with real, tiny qcow2 files."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.image import build, engine_source
from harness.image.artifacts import Artifacts, Download, load_artifacts
from harness.image.base_definition import load_definition
from harness.image.base_disk import base_key
from harness.image.build import SIDECAR, UNKNOWN, Image, build_image, image_key, load_image
from harness.image.download import Expected
from harness.image.flavor import Flavor, SecondModel, load_flavor
from harness.image.leftovers import MAKING_PREFIX
from harness.image.parts import parts_of

CLUSTER = 64 * 1024


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, timeout=30)


def make_qcow2(path: Path, content: bytes = b"disk") -> Path:
    raw = path.with_suffix(".raw")
    raw.write_bytes(content.ljust(CLUSTER, b"."))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    raw.unlink()
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- load_image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_qcow2(tmp_path / "my.qcow2")


def write_sidecar(image: Path, **facts: Any) -> None:
    (image.parent / SIDECAR).write_text(json.dumps(facts))


def test_an_image_without_a_sidecar_is_an_image(image: Path) -> None:
    assert load_image(image) == Image(path=image, sha256=sha256(image))
    assert load_image(image).flavor == UNKNOWN


def test_a_sidecar_says_what_is_in_the_image(image: Path) -> None:
    facts = {
        "flavor": "ci",
        "base": "debian-12",
        "engine": "llama-server",
        "engine_version": "0.5",
        "model": "m",
        "key": "k",
    }
    write_sidecar(image, sha256=sha256(image), size=1, **facts)
    assert load_image(image) == Image(path=image, sha256=sha256(image), **facts)


def test_what_a_sidecar_leaves_out_is_unknown(image: Path) -> None:
    write_sidecar(image, sha256=sha256(image), flavor="ci")
    assert load_image(image) == Image(path=image, sha256=sha256(image), flavor="ci")


def test_a_sidecar_of_another_content_says_nothing(image: Path) -> None:
    write_sidecar(image, sha256=sha256(image), flavor="ci", model="m")
    make_qcow2(image, b"another disk")
    assert load_image(image) == Image(path=image, sha256=sha256(image))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"'])
def test_a_broken_sidecar_says_nothing(image: Path, text: str) -> None:
    (image.parent / SIDECAR).write_text(text)
    assert load_image(image) == Image(path=image, sha256=sha256(image))


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"there is no image .*/none\.qcow2$") as caught:
        load_image(tmp_path / "none.qcow2")
    assert "make image" in caught.value.hint
    with pytest.raises(HarnessError, match="there is no image"):
        load_image(tmp_path)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "raw.qcow2"
    path.write_bytes(b"x" * CLUSTER)
    with pytest.raises(HarnessError, match=r"is not a qcow2 image \(qemu-img calls it raw\)") as caught:
        load_image(path)
    assert "qemu-img convert -O qcow2 raw.qcow2" in caught.value.hint


def test_a_file_that_only_starts_like_qcow2_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "short.qcow2"
    path.write_bytes(b"QFI\xfb" + b"\xff" * 600)
    with pytest.raises(HarnessError, match=r"can't be read as a disk image: .") as caught:
        load_image(path)
    assert "\n" not in caught.value.message


def test_an_overlay_is_refused(image: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, overlay)
    with pytest.raises(HarnessError, match=r"overlay\.qcow2 is an overlay of .*my\.qcow2"):
        load_image(overlay)


def test_a_damaged_image_is_refused_in_one_line(image: Path) -> None:
    # Without reference counts every cluster in use looks free: the next write would land on data.
    with image.open("r+b") as file:
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        file.write(bytes(8))
    with pytest.raises(HarnessError, match=r"my\.qcow2 is damaged: .") as caught:
        load_image(image)
    assert "\n" not in caught.value.message


def test_an_image_with_leaked_clusters_only_is_good(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        block = int.from_bytes(file.read(8), "big")
        used = image.stat().st_size // CLUSTER
        file.seek(block + 2 * (used + 1))
        file.write(b"\x00\x01")
        file.truncate((used + 3) * CLUSTER)
    checked = subprocess.run(["qemu-img", "check", "-q", image], check=False, capture_output=True)
    assert checked.returncode == 3
    assert load_image(image).sha256 == sha256(image)


# --- build_image


@dataclass
class Edges:
    """What was asked of the steps that take minutes, and how Packer ends."""

    calls: Counter[str] = field(default_factory=Counter)
    accelerators: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    models: dict[str, Path] = field(default_factory=dict)
    fails: HarnessError | KeyboardInterrupt | None = None


@pytest.fixture
def edges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edges:
    edges = Edges()
    base = tmp_path / "basekey" / "base.qcow2"
    base.parent.mkdir()
    make_qcow2(base, b"base")
    engine = tmp_path / "engine"
    engine.mkdir()
    model = tmp_path / "tiny.gguf"
    model.write_bytes(b"GGUF")

    def choose_accelerator(requested: str) -> Any:
        edges.calls["choose_accelerator"] += 1
        edges.accelerators.append(requested)
        return SimpleNamespace(name="tcg")

    def counting(name: str, result: Path) -> Callable[..., Path]:
        def edge(*_: object) -> Path:
            edges.calls[name] += 1
            return result

        return edge

    def counted(name: str, result: Path) -> None:
        monkeypatch.setattr(build, name, counting(name, result))

    def write_staging_iso(
        target: Path, *, facts: dict[str, str], models: dict[str, Path], **_: object
    ) -> None:
        edges.calls["write_staging_iso"] += 1
        edges.facts, edges.models = facts, models
        target.write_bytes(b"iso")

    def run_packer(flavor: Any, *, accelerator: str, work: Path, staging_iso: Path, **_: object) -> Path:
        edges.calls["run_packer"] += 1
        assert accelerator == "tcg"
        assert staging_iso.read_bytes() == b"iso"
        (work / "packer.log").write_text("what Packer said\n")
        (work / "serial.log").write_text("what the guest said\n")
        (work / "packages.txt").write_text("bash 5.2\n")
        if edges.fails is not None:
            raise edges.fails
        (work / "output").mkdir()
        return make_qcow2(work / "output" / f"slm-copilot-{flavor.name}.qcow2", b"image")

    monkeypatch.setattr(build, "choose_accelerator", choose_accelerator)
    counted("get_base_disk", base)
    source = replace(engine_source.SOURCES["llama-server"], build=counting("build_engine", engine))
    monkeypatch.setattr(engine_source, "SOURCES", {"llama-server": source})
    counted("fetch", model)
    monkeypatch.setattr(build, "engine_version", lambda _: "0.5.0-dev")
    monkeypatch.setattr(build, "write_staging_iso", write_staging_iso)
    monkeypatch.setattr(build, "run_packer", run_packer)
    # How much room this host has is not what these tests are about.
    monkeypatch.setattr(build, "require_free", lambda *_: None)
    return edges


def with_second(flavor: Flavor, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Artifacts:
    """artifacts.yaml with a second model of two bytes that somebody placed; the flavor asked to have it."""
    second = SecondModel("model-two", "two-7b", "Two 7B")
    monkeypatch.setattr(build, "load_flavor", lambda *_, **__: replace(flavor, second_model=second))
    known = load_artifacts()
    one = Download(
        name="model-two",
        version="2",
        licence="MIT",
        what="two bytes",
        flavors=("ci",),
        expected=Expected("two-original-name.gguf", 0, ""),
        url="https://example.org/2",
        engines=("llama-server",),
        second_model=True,
    )
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "two-original-name.gguf").write_bytes(b"22")
    artifacts = replace(known, downloads={**known.downloads, "model-two": one})
    monkeypatch.setattr(build, "load_artifacts", lambda: artifacts)
    return artifacts


def test_a_second_model_is_staged_by_its_id_and_written_down_as_what_it_is(
    edges: Edges, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flavor = load_flavor("ci")
    artifacts = with_second(flavor, monkeypatch, cache)
    image = build_image("ci")
    assert {name: path.name for name, path in edges.models.items()} == {
        "tiny.gguf": "tiny.gguf",
        "two-7b.gguf": "two-original-name.gguf",
    }
    digest = hashlib.sha256(b"22").hexdigest()
    assert image.unpinned == (f"two-original-name.gguf sha256:{digest}",)
    [part] = [
        one
        for one in json.loads((image.path.parent / SIDECAR).read_text())["parts"]
        if one["name"] == "model-two"
    ]
    assert (part["role"], part["sha256"], part["licence"]) == ("second model", digest, "MIT")
    assert image.key != image_key(flavor, artifacts), "the same key with and without the second model"


def test_a_second_model_for_an_engine_that_serves_one_is_refused(
    edges: Edges, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = with_second(load_flavor("ci"), monkeypatch, cache)
    one = replace(artifacts.download("model-two"), engines=("localai",))
    monkeypatch.setattr(
        build,
        "load_artifacts",
        lambda: replace(artifacts, downloads={**artifacts.downloads, "model-two": one}),
    )
    with pytest.raises(HarnessError, match="the engine llama-server serves one model only"):
        build_image("ci")
    assert edges.calls["run_packer"] == 0


ONCE = dict.fromkeys(
    ("choose_accelerator", "get_base_disk", "build_engine", "fetch", "write_staging_iso", "run_packer"), 1
)


def rooms(cache: Path) -> set[str]:
    return {path.name for path in (cache / "images").iterdir()}


def test_an_image_is_built_under_its_key_and_described(edges: Edges, cache: Path) -> None:
    image = build_image("ci", "auto")
    key = image_key(load_flavor("ci"), load_artifacts())
    assert image.path == cache / "images" / key / "slm-copilot-ci.qcow2"
    assert image == Image(
        path=image.path,
        sha256=sha256(image.path),
        flavor="ci",
        base="debian-12",
        engine="llama-server",
        engine_version="0.5.0-dev",
        model="smollm2-135m-instruct",
        key=key,
    )
    assert edges.calls == ONCE
    assert edges.accelerators == ["auto"]
    sidecar = json.loads((image.path.parent / SIDECAR).read_text())
    assert sidecar["size"] == image.path.stat().st_size
    assert sidecar["virtual_size"] == CLUSTER
    assert sidecar["base_key"] == base_key(load_definition("debian-12"))
    assert sidecar["model_file"] == "tiny.gguf"
    assert sidecar["parts"] == parts_of(load_flavor("ci"), load_artifacts())
    model = next(part for part in sidecar["parts"] if part["role"] == "model")
    assert model["sha256"] == load_artifacts().download("model-smollm2").wanted.sha256
    assert (image.path.parent / "packages.txt").read_text() == "bash 5.2\n"
    assert {path.name for path in image.path.parent.iterdir()} == {
        "slm-copilot-ci.qcow2",
        SIDECAR,
        "packer.log",
        "packages.txt",
    }
    assert rooms(cache) == {key}


def test_what_is_baked_in_is_told_to_the_guest(edges: Edges) -> None:
    image = build_image("ci")
    assert edges.facts["SLM_BUILD_ID"] == image.key
    assert edges.facts["SLM_MODEL_FILE"] == "tiny.gguf"
    assert edges.facts["SLM_ENGINE_VERSION"] == "0.5.0-dev"
    assert edges.facts["SLM_MODEL_LICENSE"] == "Apache-2.0"


def test_another_base_is_another_image(edges: Edges, cache: Path) -> None:
    images = [build_image("ci"), build_image("ci", base="debian-13")]
    assert [image.base for image in images] == ["debian-12", "debian-13"]
    assert rooms(cache) == {image.key for image in images}
    assert edges.facts["SLM_BASE"] == "debian-13"
    assert edges.calls["run_packer"] == 2


def test_an_unchanged_image_is_not_built_again(edges: Edges) -> None:
    first = build_image("ci", "auto")
    before = first.path.stat()
    assert build_image("ci", "tcg") == first
    assert edges.calls == ONCE
    assert first.path.stat().st_ino == before.st_ino
    assert first.path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_changed_input_is_built_beside_the_old_image(
    edges: Edges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appliance = tmp_path / "appliance"
    appliance.mkdir()
    (appliance / "file").write_text("1")
    monkeypatch.setattr(build, "APPLIANCE", appliance)
    first = build_image("ci")
    (appliance / "file").write_text("2")
    second = build_image("ci")
    assert edges.calls["run_packer"] == 2
    assert second.key != first.key
    assert first.path.is_file()


@pytest.mark.parametrize(
    "name", ["APPLIANCE", "PROVISION", "TEMPLATE", "TEMPLATE_BOOTED", "PROVISION_SCRIPT"]
)
def test_every_file_that_decides_about_the_image_is_in_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = image_key(load_flavor("ci"), load_artifacts())
    (tmp_path / "changed").write_text("changed")
    monkeypatch.setattr(build, name, tmp_path / "changed")
    assert image_key(load_flavor("ci"), load_artifacts()) != before


@pytest.mark.parametrize("name", ["staging.py", "packer.py", "build_guest.py"])
def test_the_code_that_makes_the_disk_is_in_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = image_key(load_flavor("ci"), load_artifacts())
    changed = tmp_path / name
    changed.write_text("changed")
    recipes = tuple(changed if file.name == name else file for file in build.RECIPES)
    monkeypatch.setattr(build, "RECIPES", recipes)
    assert image_key(load_flavor("ci"), load_artifacts()) != before


def test_flavor_model_and_tools_are_in_the_key() -> None:
    flavor, artifacts = load_flavor("ci"), load_artifacts()
    model = artifacts.download("model-smollm2")
    other = replace(model, expected=replace(model.expected, sha256="0" * 64), member=None)
    packer = replace(artifacts.modules["packer"], version="9.9.9")
    keys = [
        image_key(flavor, artifacts),
        image_key(replace(flavor, model_name="Other"), artifacts),
        image_key(flavor, replace(artifacts, downloads={**artifacts.downloads, "model-smollm2": other})),
        image_key(flavor, replace(artifacts, modules={**artifacts.modules, "packer": packer})),
    ]
    assert len(set(keys)) == len(keys)


def test_an_unknown_flavor_builds_nothing(edges: Edges) -> None:
    with pytest.raises(HarnessError, match="there is no flavor 'none'"):
        build_image("none")
    assert not edges.calls


def test_a_failed_build_leaves_its_logs_and_nothing_half_made(edges: Edges, cache: Path) -> None:
    edges.fails = HarnessError("Packer failed: no luck", exit_code=1)
    with pytest.raises(HarnessError, match=r"^Packer failed: no luck$") as caught:
        build_image("ci")
    kept = cache / "images" / "failed"
    assert rooms(cache) == {"failed"}
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        "packer.log": "what Packer said\n",
        "serial.log": "what the guest said\n",
    }
    assert str(kept) in caught.value.hint
    assert caught.value.exit_code == 1


def test_after_a_failed_build_the_next_one_builds(edges: Edges) -> None:
    edges.fails = HarnessError("no luck")
    for _ in range(2):
        with pytest.raises(HarnessError, match="no luck"):
            build_image("ci")
    edges.fails = None
    assert build_image("ci").path.is_file()
    assert edges.calls["run_packer"] == 3


def test_an_interrupted_build_leaves_nothing(edges: Edges, cache: Path) -> None:
    edges.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        build_image("ci")
    assert rooms(cache) == set()


def test_what_killed_builds_left_is_swept_or_replaced(edges: Edges, cache: Path) -> None:
    key = image_key(load_flavor("ci"), load_artifacts())
    for name in (f"{MAKING_PREFIX}killed", key):
        (cache / "images" / name).mkdir(parents=True)
        (cache / "images" / name / "half").touch()
    image = build_image("ci")
    assert edges.calls["run_packer"] == 1
    assert rooms(cache) == {key}
    assert not (image.path.parent / "half").exists()


@pytest.mark.usefixtures("edges")
def test_a_removed_image_is_built_again_even_if_its_sidecar_is_left(cache: Path) -> None:
    build_image("ci").path.unlink()
    assert build_image("ci").path.is_file()
    assert cache.is_dir()


@pytest.mark.usefixtures("edges", "cache")
def test_the_log_of_a_failed_staging_disk_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_target: Path, *, work: Path, **_facts: Any) -> None:
        (work / "staging.log").write_text("no room\n", encoding="utf-8")
        raise HarnessError("making the staging disk failed")

    monkeypatch.setattr(build, "write_staging_iso", fail)
    with pytest.raises(HarnessError) as caught:
        build_image("ci")
    assert (Path(caught.value.hint.rpartition(": ")[2]) / "staging.log").is_file()
