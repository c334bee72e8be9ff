"""Makes an image from all its parts, or finds it in the cache when nothing it is made from changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.image.artifacts import Artifacts, fetch, load_artifacts
from harness.image.base_definition import load_base
from harness.image.base_source import base_input, get_base_disk
from harness.image.content_key import content_key, file_sha256, folder_inputs
from harness.image.engine import engine_version
from harness.image.engine_source import engine_source
from harness.image.external_tool import find_tool
from harness.image.flavor import Flavor, load_flavor, with_engine
from harness.image.kept_logs import keep_logs
from harness.image.leftovers import FAILED, MAKING_PREFIX, sweep
from harness.image.packer import (
    PACKAGE_LIST,
    PROVISION_SCRIPT,
    TEMPLATE,
    TEMPLATE_BOOTED,
    make_build_key,
    run_packer,
)
from harness.image.parts import parts_of
from harness.image.provenance import Part, obtain
from harness.image.staging import APPLIANCE, PROVISION, base_files, staged_parts, write_staging_iso
from harness.locations import GIB, REPOSITORY, images, require_free
from harness.locking import exclusive
from harness.machine.accelerator import choose_accelerator
from harness.terminal import step

SIDECAR = "image.json"
UNKNOWN = "unknown"

RECIPES = tuple(
    Path(__file__).with_name(name) for name in ("staging.py", "cloud_image.py", "packer.py", "build_guest.py")
)
"""The code that decides what gets into the image and how its disk is written."""

_BUILD_SPACE = 4 * GIB
"""Bytes one build takes beside base disk and model: Packer's copy of the system and the compacted image."""

_COPIES_OF_THE_MODEL = 3
"""On the staging disk, on the disk that is provisioned, in the compacted image."""

_QEMU_IMG_TIMEOUT_S = 120


@dataclass(frozen=True)
class Image:
    """A disk image that can be booted. Facts that nobody wrote down are "unknown"."""

    path: Path
    sha256: str
    flavor: str = UNKNOWN
    base: str = UNKNOWN
    engine: str = UNKNOWN
    engine_version: str = UNKNOWN
    model: str = UNKNOWN
    key: str = UNKNOWN
    unpinned: tuple[str, ...] = ()
    """Parts that artifacts.yaml has no hash of, each as `FILE sha256:HASH`."""


def build_image(flavor: str = "ci", accelerator: str = "auto", *, base: str = "", engine: str = "") -> Image:
    """The image of a flavor on a base and with an engine ("": the flavor's first base, its own engine), from
    the cache when its inputs are unchanged.

    `accelerator` is auto, kvm or tcg; it only matters when there is something to build. Raises HarnessError
    when a tool, an artifact or disk space is missing, or a step of the build fails; what Packer and the guest
    said is then kept in the cache's images/failed/.
    """
    chosen = with_engine(load_flavor(flavor, base=base), engine)
    artifacts = load_artifacts()
    engine_source(chosen.engine).check(chosen, artifacts)
    folder = images() / image_key(chosen, artifacts)
    path = folder / f"slm-copilot-{flavor}.qcow2"

    def is_there() -> bool:
        return path.is_file() and (folder / SIDECAR).is_file()

    if not is_there():
        with exclusive("image", "another build of the image"):
            # Whoever had the lock may have built this very image.
            if not is_there():
                _build(chosen, artifacts, accelerator, folder)
    return load_image(path)


def image_key(flavor: Flavor, artifacts: Artifacts) -> str:
    """Content key over everything that decides what is in the image."""
    staged = staged_parts(flavor, artifacts)
    return content_key(
        {
            "flavor": repr(flavor),
            "version": appliance_version(),
            "base": base_input(load_base(flavor.base), artifacts),
            "staged": " ".join(f"{place} {part.digest}" for place, part in staged.items()),
            "engine": engine_source(flavor.engine).key(artifacts),
            "model": artifacts.download(flavor.model_artifact).wanted.sha256,
            "second model": " ".join(part.digest for part in _second_model(flavor, artifacts)),
            "packer": artifacts.modules["packer"].version,
            "packer-plugin-qemu": artifacts.modules["packer-plugin-qemu"].version,
            **folder_inputs(APPLIANCE, "appliance"),
            **folder_inputs(PROVISION, "provision"),
            **folder_inputs(TEMPLATE, "template"),
            **folder_inputs(TEMPLATE_BOOTED, "template of a booted guest"),
            **folder_inputs(PROVISION_SCRIPT, "provision.sh"),
            **folder_inputs(flavor.packer_variables, "variables"),
            **{name: text for file in RECIPES for name, text in folder_inputs(file, file.name).items()},
        }
    )


def appliance_version() -> str:
    """The version that pyproject.toml gives this project."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def load_image(path: Path) -> Image:
    """A disk image and what its image.json says of it.

    Raises HarnessError when the file is not a readable, undamaged qcow2 that stands by itself.
    """
    if not path.is_file():
        raise HarnessError(f"there is no image {path}", hint="build it with: make image")
    _check_qcow2(path)
    sha256 = file_sha256(path)
    facts = _read_sidecar(path)
    # A sidecar of another file's content says nothing about this one.
    if facts.get("sha256") != sha256:
        return Image(path=path, sha256=sha256)
    known = {
        name: str(facts.get(name, UNKNOWN))
        for name in ("flavor", "base", "engine", "engine_version", "model", "key")
    }
    unpinned = facts.get("unpinned", [])
    return Image(path=path, sha256=sha256, **known, unpinned=tuple(str(one) for one in unpinned))


def _build(flavor: Flavor, artifacts: Artifacts, accelerator: str, folder: Path) -> None:
    sweep(images())
    weights = artifacts.download(flavor.model_artifact).wanted.size
    weights += sum(part.path.stat().st_size for part in _second_model(flavor, artifacts))
    require_free(images(), _BUILD_SPACE + _COPIES_OF_THE_MODEL * weights, "building the image")
    with step(f"image of flavor {flavor.name} on {flavor.base}"):
        # What fails early should fail before the minutes of compiling.
        engine_accelerator = choose_accelerator(accelerator).name
        base = load_base(flavor.base)
        base_disk = get_base_disk(base, artifacts)
        staged = staged_parts(flavor, artifacts)
        model = fetch(flavor.model_artifact, artifacts)
        engine = engine_source(flavor.engine).build(artifacts)
        second = _second_model(flavor, artifacts)
        found = (*engine_source(flavor.engine).parts(artifacts), *staged.values(), *second)
        models = {model.name: model}
        if flavor.second_model:
            models[flavor.second_model.file] = second[0].path
        with tempfile.TemporaryDirectory(prefix=MAKING_PREFIX, dir=images()) as made:
            work = Path(made)
            facts = _baked_in(flavor, artifacts, engine, model, folder.name)
            staging = work / "staging.iso"
            key = make_build_key(work)
            public_key = key.with_suffix(".pub").read_text(encoding="utf-8")
            try:
                with step("staging disk"):
                    write_staging_iso(
                        staging,
                        flavor=flavor,
                        engine=engine,
                        models=models,
                        facts=facts,
                        files={place: part.path for place, part in staged.items()},
                        texts=base_files(base, public_key),
                        work=work,
                    )
                with step(f"Packer provisions and seals the image ({engine_accelerator})") as progress:
                    built = run_packer(
                        flavor,
                        base=base_disk,
                        staging_iso=staging,
                        key=key,
                        accelerator=engine_accelerator,
                        work=work,
                        progress=progress,
                    )
            except HarnessError as error:
                raise keep_logs(
                    error,
                    work=work,
                    names=("staging.log", "packer.log", "serial.log"),
                    kept=images() / FAILED,
                    what="Packer's log and the guest's console",
                ) from error
            with step("checksum"):
                result = work / "result"
                result.mkdir()
                final = built.rename(result / built.name)
                _write_sidecar(final, flavor, facts, base_input(base, artifacts), found, artifacts)
                shutil.copy(work / "packer.log", result)
                shutil.copy(work / PACKAGE_LIST, result)
            shutil.rmtree(folder, ignore_errors=True)
            result.rename(folder)


def _second_model(flavor: Flavor, artifacts: Artifacts) -> tuple[Part, ...]:
    """The second model's weights where the flavor has one. Raises HarnessError when they can't be had, or the
    engine serves one model only."""
    if flavor.second_model is None:
        return ()
    if flavor.engine not in artifacts.download(flavor.second_model.artifact).engines:
        raise HarnessError(
            f"SLM_SECOND_MODEL is set, and the engine {flavor.engine} serves one model only",
            hint="unset it, or build with ENGINE=localai",
        )
    return (obtain(flavor.second_model.artifact, artifacts),)


def _baked_in(flavor: Flavor, artifacts: Artifacts, engine: Path, model: Path, key: str) -> dict[str, str]:
    return {
        "SLM_FLAVOR": flavor.name,
        "SLM_BASE": flavor.base,
        "SLM_VERSION": appliance_version(),
        "SLM_ENGINE": flavor.engine,
        "SLM_ENGINE_VERSION": engine_version(engine),
        "SLM_MODEL_ID": flavor.model_id,
        "SLM_MODEL_FILE": model.name,
        "SLM_MODEL_NAME": flavor.model_name,
        "SLM_MODEL_LICENSE": artifacts.download(flavor.model_artifact).licence,
        "SLM_MODEL_TOOL_CALLS": flavor.model_tool_calls,
        "SLM_BUILD_ID": key,
    }


def _write_sidecar(
    image: Path,
    flavor: Flavor,
    facts: dict[str, str],
    base: str,
    found: tuple[Part, ...],
    artifacts: Artifacts,
) -> None:
    info = _qemu_img_info(image)
    data = {
        "file": image.name,
        "sha256": file_sha256(image),
        "size": image.stat().st_size,
        "virtual_size": info["virtual-size"],
        "flavor": flavor.name,
        "base": flavor.base,
        "version": facts["SLM_VERSION"],
        "engine": facts["SLM_ENGINE"],
        "engine_version": facts["SLM_ENGINE_VERSION"],
        "model": facts["SLM_MODEL_ID"],
        "model_file": facts["SLM_MODEL_FILE"],
        "key": facts["SLM_BUILD_ID"],
        "base_key": base,
        "unpinned": [part.label for part in found if not part.pinned],
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "parts": parts_of(flavor, artifacts, found),
    }
    (image.parent / SIDECAR).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _read_sidecar(path: Path) -> dict[str, Any]:
    try:
        data = json.loads((path.parent / SIDECAR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _check_qcow2(path: Path) -> None:
    info = _qemu_img_info(path)
    if info.get("format") != "qcow2":
        raise HarnessError(
            f"{path} is not a qcow2 image (qemu-img calls it {info.get('format')})",
            hint=f"build it with: make image; or convert it: qemu-img convert -O qcow2 {path.name} NEW.qcow2",
        )
    if "backing-filename" in info:
        raise HarnessError(
            f"{path} is an overlay of {info['backing-filename']}, not an image of its own",
            hint="qemu-img convert -O qcow2 makes one file of both",
        )
    checked = _qemu_img("check", "-q", "-U", path)
    # 3: leaked clusters only, which cost room and nothing else.
    if checked.returncode not in (0, 3):
        raise HarnessError(
            f"{path} is damaged: {' '.join((checked.stderr or checked.stdout).split())[:300]}",
            hint="remove it and build it again with: make image",
        )


def _qemu_img_info(path: Path) -> dict[str, Any]:
    result = _qemu_img("info", "-U", "--output=json", path)
    if result.returncode != 0:
        raise HarnessError(f"{path} can't be read as a disk image: {' '.join(result.stderr.split())[:300]}")
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def _qemu_img(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [find_tool("qemu-img", "qemu-utils"), command, *arguments],
            capture_output=True,
            text=True,
            timeout=_QEMU_IMG_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"qemu-img {command} did not end within {_QEMU_IMG_TIMEOUT_S} s") from error
