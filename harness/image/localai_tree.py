"""Assembles the engine LocalAI: its program, its llama.cpp backend, and what this version has to be told.

Nothing is compiled and nothing of it is run here. The tree: local-ai, llama-cpp/ (the backend's image,
unpacked), environment (NAME=VALUE lines with @WORDS@ that engines/localai.sh fills in), tool-calls/NAME.yaml
for each way of writing tool calls that this version has to be told, build-info.json.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError
from harness.image.artifacts import Artifacts
from harness.image.content_key import content_key, folder_inputs
from harness.image.image_archive import read_archive, unpack_image
from harness.image.provenance import Part, obtain
from harness.locations import REPOSITORY, engines, require_free
from harness.locking import exclusive
from harness.terminal import step

TABLE = REPOSITORY / "appliance" / "engines" / "localai.yaml"
BINARY, BACKEND = "localai-binary", "localai-backend"
PROGRAM, BACKEND_FOLDER, RUN = "local-ai", "llama-cpp", "run.sh"

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_ELF64_X86 = (b"\x7fELF\x02\x01", b"\x3e\x00")
"""The first bytes of a 64-bit little-endian program, and its machine (EM_X86_64) at offset 18."""


@dataclass(frozen=True)
class Told:
    """What one version is told: the environment in its order, and the texts for tool calls by their name."""

    environment: Mapping[str, str]
    tool_calls: Mapping[str, str]
    known_tool_calls: tuple[str, ...]


def told_to(version: str, table: Path = TABLE) -> Told:
    """The part of the table that is true for a version (`v3.11.0`). Raises HarnessError for a version older
    than the table, or a table that isn't complete."""
    wanted = _numbers(version)
    try:
        data = yaml.safe_load(table.read_text(encoding="utf-8"))
        if wanted < _numbers(data["oldest"]):
            raise HarnessError(
                f"LocalAI {version} is older than {data['oldest']}, the oldest that {table} knows"
            )
        environment = [one for one in data["environment"] if _applies(one, wanted)]
        names = [one["name"] for one in environment]
        if len(set(names)) != len(names):
            raise ValueError("a variable stands twice in `environment`")
        calls = data["tool_calls"]
        return Told(
            {str(one["name"]): str(one["value"]) for one in environment},
            {str(one["name"]): str(one["function"]) for one in calls if _applies(one, wanted)},
            tuple(str(one["name"]) for one in calls),
        )
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise HarnessError(f"{table} can't be used: {' '.join(str(error).split())}") from error


def localai_parts(artifacts: Artifacts) -> tuple[Part, Part]:
    """Program and backend with their hashes. Raises HarnessError when one can't be had."""
    if (binary := artifacts.download(BINARY)).version != (backend := artifacts.download(BACKEND)).version:
        raise HarnessError(
            f"artifacts.yaml has LocalAI {binary.version} with a backend of {backend.version}",
            hint="they talk a protocol that changes between versions: use one version",
        )
    return obtain(BINARY, artifacts), obtain(BACKEND, artifacts)


def localai_version(artifacts: Artifacts) -> str:
    """The version, as artifacts.yaml has it."""
    return artifacts.download(BINARY).version


def localai_key(artifacts: Artifacts) -> str:
    """Content key of the tree. Raises HarnessError when a part is missing."""
    parts = localai_parts(artifacts)
    return content_key(
        {
            "version": localai_version(artifacts),
            **{part.name: f"{part.digest} {part.pinned}" for part in parts},
            **folder_inputs(TABLE, "table"),
            **folder_inputs(Path(__file__), "code"),
            **folder_inputs(Path(__file__).with_name("image_archive.py"), "archive code"),
        }
    )


def build_localai(artifacts: Artifacts) -> Path:
    """The engine's tree, assembled now or taken from the cache. Raises HarnessError."""
    parts = localai_parts(artifacts)
    folder = engines() / localai_key(artifacts)
    if _complete(folder):
        return folder
    with exclusive("engine-localai", "another assembling of LocalAI"):
        if not _complete(folder):
            _assemble(localai_version(artifacts), *parts, folder)
    return folder


def _assemble(version: str, binary: Part, backend: Part, folder: Path) -> None:
    _check_program(binary.path)
    told = told_to(version)
    require_free(engines(), 3 * (binary.path.stat().st_size + _size(backend.path)), "assembling LocalAI")
    with (
        step(f"assemble LocalAI {version}"),
        tempfile.TemporaryDirectory(prefix=".making-localai-", dir=engines()) as made,
    ):
        tree = Path(made) / "tree"
        tree.mkdir()
        shutil.copyfile(binary.path, tree / PROGRAM)
        (tree / PROGRAM).chmod(0o755)
        _bring_backend(backend.path, tree / BACKEND_FOLDER)
        lines = (f"{name}={value}\n" for name, value in told.environment.items())
        (tree / "environment").write_text("".join(lines), encoding="utf-8")
        (tree / "tool-calls").mkdir()
        for name, text in told.tool_calls.items():
            (tree / "tool-calls" / f"{name}.yaml").write_text(text, encoding="utf-8")
        info: dict[str, Any] = {
            "engine": "localai",
            "version": version,
            "parts": [{"part": part.label, "pinned": part.pinned} for part in (binary, backend)],
            "licence": "MIT",
        }
        (tree / "build-info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        tree.rename(folder)


def _bring_backend(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        unpack_image(read_archive(source), target)
    run = target / RUN
    if not run.is_file():
        raise HarnessError(
            f"{source} has no {RUN}: it is not LocalAI's llama.cpp backend",
            hint="take local-ai-backends:VERSION-cpu-llama-cpp; a folder must hold its files directly",
        )
    # LocalAI itself would make it executable, which a read-only folder refuses.
    run.chmod(0o755)


def _check_program(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(20)
    if not (head.startswith(_ELF64_X86[0]) and head[18:20] == _ELF64_X86[1]):
        raise HarnessError(
            f"{path} is not a Linux program for x86-64",
            hint="an error page saved under its name? Take the release's asset itself",
        )


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (PROGRAM, f"{BACKEND_FOLDER}/{RUN}", "build-info.json"))


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files)


def _applies(one: Mapping[str, Any], version: tuple[int, ...]) -> bool:
    unknown = set(one) - {"name", "value", "why", "since", "until", "function"}
    if unknown or not one["why"]:
        raise ValueError(f"{one['name']} has {sorted(unknown) or 'no why'}")
    since, until = one.get("since", ""), one.get("until", "")
    return (not since or _numbers(since) <= version) and (not until or version < _numbers(until))


def _numbers(version: str) -> tuple[int, ...]:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise HarnessError(f"'{version}' is no version of LocalAI, which look like v3.11.0")
    return tuple(int(number) for number in match.groups())
