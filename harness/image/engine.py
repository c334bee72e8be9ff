"""Builds the engine of flavor ci, llama.cpp's llama-server, from the pinned source distribution.

It is compiled in a clean root of the guest's own distribution, so the result runs on the guest's C library
whatever this host is. mmdebstrap makes that root and runs the recipe in it, as root or, for other users, in a
user namespace; mounts and processes live in namespaces that end with the build, however it ends.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import HarnessError
from harness.image.artifacts import Artifacts, fetch, load_artifacts
from harness.image.content_key import content_key, folder_inputs
from harness.image.external_tool import find_tool, run_tool
from harness.locations import GIB, engines, require_free
from harness.locking import exclusive
from harness.terminal import Step, step

RECIPE = Path(__file__).with_name("engine_recipe.sh")
PROGRAMS = ("llama-server", "llama-bench")

_BUILD_SPACE = 2 * GIB
"""Bytes the build root with sources and objects takes (measured: 0.9 GiB), with a margin."""

# Of the sources only what the recipe needs; the rest is 120 MB of documents, test models and pictures.
_LEFT_OUT = ("docs", "models", "tests", "media", "benches", "gguf-py", "examples", "pocs")
_SOURCES_INSIDE = "vendor/llama.cpp/"
_NINJA = re.compile(r"\[(\d+)/(\d+)\] ")
_VERSION = re.compile(r"version:\s*(\S+)")


def build_engine(artifacts: Artifacts | None = None) -> Path:
    """The folder with llama-server, llama-bench, their libraries, LICENSE and build-info.json.

    Made now (10 to 15 minutes on two cores) or taken from the cache. Raises HarnessError when sources can't
    be had, a tool is missing, the disk is full, or the compiler fails.
    """
    known = artifacts or load_artifacts()
    folder = engines() / engine_key(known)
    if _complete(folder):
        return folder
    with exclusive("engine", "another build of the engine"):
        if not _complete(folder):
            _build(known, folder)
    return folder


def engine_key(artifacts: Artifacts) -> str:
    """Content key of the engine tree: the sources' hash, the build root's packages and the recipe."""
    return content_key(
        {
            "source": artifacts.download("engine-source").expected.sha256,
            "suite": artifacts.system.suite,
            "packages": " ".join(artifacts.system.lists["engine-build"]),
            **folder_inputs(RECIPE, "recipe"),
        }
    )


def engine_version(folder: Path) -> str:
    """The engine's version as the tree's build-info.json gives it, without spaces."""
    try:
        return str(json.loads((folder / "build-info.json").read_text())["version"])
    except (OSError, ValueError, KeyError) as error:
        raise HarnessError(
            f"{folder} is not an engine tree: {error}", hint="remove that folder to build it again"
        ) from error


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (*PROGRAMS, "LICENSE", "build-info.json"))


def _build(artifacts: Artifacts, folder: Path) -> None:
    _sweep(engines())
    source = fetch("engine-source", artifacts)
    as_root = os.geteuid() == 0
    # In a user namespace root is another user, who may not get into this user's home folder.
    roots = engines() if as_root else Path(tempfile.gettempdir())
    require_free(roots, _BUILD_SPACE, "building the engine")
    with (
        step("build the engine llama-server from source (10 to 15 min on 2 cores)") as progress,
        tempfile.TemporaryDirectory(prefix=".making-", dir=engines()) as made,
    ):
        work = Path(made)
        work.chmod(0o755)
        progress.waiting_for("the sources")
        _pack_sources(source, work / "sources.tar")
        progress.waiting_for("packages of the build root")
        log = engines() / "build.log"
        log.unlink(missing_ok=True)
        run_tool(
            _command(artifacts, work, as_root=as_root),
            what="building the engine",
            log=log,
            env={
                "SLM_SOURCE_NAME": source.name.removesuffix(".tar.gz"),
                "TMPDIR": str(work if as_root else roots),
            },
            on_line=lambda line: _show(line, progress),
        )
        tree = work / "engine"
        _describe(tree, artifacts)
        shutil.rmtree(folder, ignore_errors=True)
        tree.rename(folder)
        log.unlink()  # 14 MB of compiler warnings, which nobody needs beside an engine that starts


def _command(artifacts: Artifacts, work: Path, *, as_root: bool) -> list[str | Path]:
    mmdebstrap = find_tool("mmdebstrap", "mmdebstrap")
    packages = ",".join(artifacts.system.lists["engine-build"])
    return [
        *(_own_namespaces() if as_root else _check_user_namespaces()),
        mmdebstrap,
        f"--mode={'root' if as_root else 'unshare'}",
        "--variant=minbase",
        f"--include={packages}",
        "--aptopt=Acquire::Languages none",
        "--aptopt=Acquire::Retries 3",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--customize-hook=tar-in {work / 'sources.tar'} /",
        '--customize-hook=chroot "$1" /bin/bash /engine_recipe.sh',
        f"--customize-hook=copy-out /engine {work}",
        artifacts.system.suite,
        "/dev/null",
    ]


def _own_namespaces() -> list[str | Path]:
    """What to run a program under so that its mounts and processes end with it, and it ends with us."""
    unshare, setpriv = find_tool("unshare", "util-linux"), find_tool("setpriv", "util-linux")
    return [setpriv, "--pdeathsig", "KILL", unshare, "--mount", "--pid", "--mount-proc", "--kill-child"]


def _check_user_namespaces() -> list[str | Path]:
    """Raise HarnessError when this user can't have a user namespace with more than one id in it."""
    find_tool("newuidmap", "uidmap")
    user = getpass.getuser()
    for table in (Path("/etc/subuid"), Path("/etc/subgid")):
        names = [line.split(":")[0] for line in table.read_text().splitlines()] if table.is_file() else []
        if user not in names and str(os.getuid()) not in names:
            raise HarnessError(
                f"building the engine as {user} needs ids for a user namespace, and {table} has none",
                hint=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
    return []


def _pack_sources(source: Path, target: Path) -> None:
    """Write llama.cpp's sources out of the source distribution as /src, and the recipe beside them."""
    with tarfile.open(source, "r:gz") as archive, tarfile.open(target, "w") as packed:
        for entry in archive:
            inside = entry.name.partition("/")[2]
            if not inside.startswith(_SOURCES_INSIDE) or not (entry.isreg() or entry.isdir()):
                continue
            path = PurePosixPath(inside.removeprefix(_SOURCES_INSIDE))
            if ".." in path.parts or (path.parts and path.parts[0] in _LEFT_OUT):
                continue
            _add(packed, f"src/{path}", archive.extractfile(entry) if entry.isreg() else None, entry.size)
        recipe = RECIPE.read_bytes()
        _add(packed, RECIPE.name, io.BytesIO(recipe), len(recipe))


def _add(packed: tarfile.TarFile, name: str, content: IO[bytes] | None, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o755
    if content is None:
        info.type = tarfile.DIRTYPE
        packed.addfile(info)
    else:
        info.size = size
        packed.addfile(info, content)


def _show(line: str, progress: Step) -> None:
    match = _NINJA.match(line)
    if match:
        done, total = int(match[1]), int(match[2])
        progress.progress(done, total)
        progress.waiting_for(f"the compiler, step {done} of {total}")
    elif line.startswith("-- "):
        progress.waiting_for("the configuration")


def _describe(tree: Path, artifacts: Artifacts) -> None:
    """Turn what the recipe left into build-info.json beside the programs."""
    printed = tree / "version.txt"
    match = _VERSION.search(printed.read_text(errors="replace"))
    source = artifacts.download("engine-source")
    info = {
        "engine": "llama-server",
        "version": match[1] if match else source.version,
        "source": source.expected.file,
        "source_sha256": source.expected.sha256,
        "licence": source.licence,
        "suite": artifacts.system.suite,
        "cpu_variants": sorted(
            path.name.removeprefix("libggml-cpu-").removesuffix(".so")
            for path in tree.glob("libggml-cpu-*.so")
        ),
    }
    printed.unlink()
    (tree / "build-info.json").write_text(json.dumps(info, indent=2) + "\n")


def _sweep(folder: Path) -> None:
    """Remove what a killed build left; nobody else uses it, because the lock is ours."""
    for stale in folder.glob(".making-*"):
        shutil.rmtree(stale, ignore_errors=True)
