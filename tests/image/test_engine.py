"""The engine's build step with a stub for mmdebstrap: what is packed, cached, shown and left behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.image import engine
from harness.image.artifacts import Artifacts, load_artifacts
from harness.image.download import Expected
from harness.image.engine import build_engine, engine_key, engine_version

SOURCE = {
    "pkg-1/README.md": b"not llama.cpp's",
    "pkg-1/vendor/llama.cpp/CMakeLists.txt": b"project(llama.cpp)",
    "pkg-1/vendor/llama.cpp/LICENSE": b"MIT",
    "pkg-1/vendor/llama.cpp/src/llama.cpp": b"int main;",
    "pkg-1/vendor/llama.cpp/docs/large.md": b"x" * 5000,
    "pkg-1/vendor/llama.cpp/../../escape": b"no",
}

# Does what mmdebstrap's hooks do: unpacks tar-in, and in the place of the recipe leaves a tree for copy-out.
MMDEBSTRAP = """#!/bin/sh
printf '%s\\n' "$@" >"$CALLS"
for argument in "$@"; do
  case "$argument" in
    --customize-hook=tar-in*) set -- ${argument#*=}; tar -tf "$2" >"$CALLS.sources" ;;
    --customize-hook=copy-out*) set -- ${argument#*=}; work=$3 ;;
  esac
done
echo '-- configuring'
echo '[1/2] Building CXX object a.o'
[ -z "${FAKE_FAILS:-}" ] || { echo "fatal error: no such file"; exit 1; }
mkdir "$work/engine"
cd "$work/engine"
touch llama-server llama-bench LICENSE libggml-cpu-zen4.so libggml-cpu-x64.so
echo 'version: 0.5.0-dev (build 0, commit x)' >version.txt
echo '[2/2] Linking'
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    calls = tmp_path / "calls"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {"mmdebstrap": MMDEBSTRAP, "newuidmap": "#!/bin/sh\n"}.items():
        (programs / name).write_text(body)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(calls))
    # Namespaces need root; how they are made is not what these tests are about.
    monkeypatch.setattr(engine, "_own_namespaces", list)
    monkeypatch.setattr(engine, "_check_user_namespaces", list)
    return calls


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in SOURCE.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    packed = buffer.getvalue()
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "pkg-1.tar.gz").write_bytes(packed)
    real = load_artifacts()
    source = replace(
        real.download("engine-source"),
        expected=Expected("pkg-1.tar.gz", len(packed), hashlib.sha256(packed).hexdigest()),
    )
    return replace(real, downloads={**real.downloads, "engine-source": source})


def test_the_tree_is_built_once_and_describes_itself(calls: Path, artifacts: Artifacts) -> None:
    folder = build_engine(artifacts)
    assert folder.name == engine_key(artifacts)
    info = json.loads((folder / "build-info.json").read_text())
    assert info["cpu_variants"] == ["x64", "zen4"]
    assert info["source_sha256"] == artifacts.download("engine-source").expected.sha256
    assert engine_version(folder) == "0.5.0-dev"
    assert not (folder / "version.txt").exists()
    calls.unlink()
    assert build_engine(artifacts) == folder
    assert not calls.exists()


def test_only_the_sources_that_are_needed_get_into_the_build_root(calls: Path, artifacts: Artifacts) -> None:
    build_engine(artifacts)
    packed = calls.with_suffix(".sources").read_text().splitlines()
    assert sorted(packed) == ["engine_recipe.sh", "src/CMakeLists.txt", "src/LICENSE", "src/src/llama.cpp"]


def test_the_build_root_is_the_guests_suite(calls: Path, artifacts: Artifacts) -> None:
    build_engine(artifacts)
    arguments = calls.read_text().splitlines()
    assert arguments[-2:] == ["bookworm", "/dev/null"]
    assert "--include=cmake,g++,ninja-build" in arguments


def test_progress_is_read_from_the_compiler(
    calls: Path,  # noqa: ARG001
    artifacts: Artifacts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[float, float]] = []
    monkeypatch.setattr("harness.terminal.Step.progress", lambda _, done, total: seen.append((done, total)))
    build_engine(artifacts)
    assert seen[-2:] == [(1, 2), (2, 2)]


def test_a_failed_build_leaves_its_log_and_no_tree(
    calls: Path,  # noqa: ARG001
    artifacts: Artifacts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(HarnessError, match="fatal error: no such file") as caught:
        build_engine(artifacts)
    assert "\n" not in caught.value.message
    assert [path.name for path in (tmp_path / "cache" / "engines").iterdir()] == ["build.log"]
    assert "build.log" in caught.value.hint


def test_what_a_killed_build_left_is_swept(calls: Path, artifacts: Artifacts, tmp_path: Path) -> None:  # noqa: ARG001
    stale = tmp_path / "cache" / "engines" / ".making-stale"
    stale.mkdir(parents=True)
    (stale / "object.o").touch()
    folder = build_engine(artifacts)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_unfinished_tree_is_built_again(calls: Path, artifacts: Artifacts, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "engines" / engine_key(artifacts)
    folder.mkdir(parents=True)
    (folder / "llama-server").touch()
    build_engine(artifacts)
    assert calls.exists()
    assert (folder / "build-info.json").is_file()


def test_the_key_follows_sources_packages_and_recipe(
    artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {engine_key(artifacts), engine_key(load_artifacts())}
    keys.add(engine_key(replace(artifacts, system=replace(artifacts.system, suite="trixie"))))
    keys.add(
        engine_key(replace(artifacts, system=replace(artifacts.system, lists={"engine-build": ("gcc",)})))
    )
    recipe = tmp_path / "engine_recipe.sh"
    recipe.write_text("#!/bin/bash\n")
    monkeypatch.setattr(engine, "RECIPE", recipe)
    keys.add(engine_key(artifacts))
    assert len(keys) == 5


def test_a_folder_that_is_no_engine_tree_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="is not an engine tree"):
        engine_version(tmp_path)


def test_a_user_without_spare_ids_is_told_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "newuidmap").write_text("#!/bin/sh\n")
    (tmp_path / "newuidmap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("getpass.getuser", lambda: "nobody-knows-me")
    with pytest.raises(HarnessError, match="nobody-knows-me needs ids for a user namespace") as caught:
        engine._check_user_namespaces()
    assert "usermod --add-subuids" in caught.value.hint


def test_the_recipe_keeps_every_cpu_variant_and_stays_off_the_network() -> None:
    recipe = engine.RECIPE.read_text()
    for option in ("GGML_NATIVE=OFF", "GGML_BACKEND_DL=ON", "GGML_CPU_ALL_VARIANTS=ON", "LLAMA_CURL=OFF"):
        assert f"-D{option}" in recipe
    for option in ("LLAMA_OPENSSL=OFF", "LLAMA_BUILD_UI=OFF", "LLAMA_USE_PREBUILT_UI=OFF"):
        assert f"-D{option}" in recipe
