"""The staging disk: an ISO with everything that the machine which Packer boots puts into the image."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.image.artifacts import Artifacts
from harness.image.base_definition import Base, CloudImage
from harness.image.base_disk import FILES
from harness.image.cloud_image import render_base_env, render_seed
from harness.image.external_tool import find_tool, run_tool
from harness.image.flavor import Flavor
from harness.image.provenance import Part, obtain
from harness.locations import REPOSITORY

LABEL = "CIDATA"
"""cloud-init looks for a disk of this label; to base disks that are made here it is a name like any other."""

APPLIANCE = REPOSITORY / "appliance"
PROVISION = REPOSITORY / "packer" / "provision"


def render_flavor_env(facts: Mapping[str, str]) -> str:
    """/opt/slm-copilot/flavor.env: KEY=value lines that bash can source, in sorted order."""
    return "".join(f"{name}={shlex.quote(facts[name])}\n" for name in sorted(facts))


def staged_parts(flavor: Flavor, artifacts: Artifacts) -> dict[str, Part]:
    """The flavor's downloads that lie on the staging disk as they are, by their place there.

    Fetched where they have to be. Raises HarnessError for the first one that can't be had.
    """
    return {
        f"artifacts/{one.stage}": obtain(one.name, artifacts)
        for one in artifacts.for_flavor(flavor.name, flavor.engine)
        if one.stage
    }


def base_files(base: Base, public_key: str) -> dict[str, str]:
    """What the base is told on the staging disk, by place; one that is made here has all it needs."""
    if not isinstance(base, CloudImage):
        return {}
    return {"base.env": render_base_env(base), **render_seed(public_key)}


def write_staging_iso(
    target: Path,
    *,
    flavor: Flavor,
    engine: Path,
    models: Mapping[str, Path],
    facts: Mapping[str, str],
    files: Mapping[str, Path],
    texts: Mapping[str, str],
    work: Path,
) -> None:
    """Write the ISO: /appliance, /artifacts/engine and models, /base-files, /flavor.env and /provision.

    `models` are the weights by the names they have in the guest. `files` and `texts` are what else lies on
    it, by place. Nothing is copied first: xorriso takes the files from where they are. `work` is an existing
    folder for texts and the log. Raises HarnessError when a provisioning script is missing or xorriso fails.
    """
    written = work / "staging"
    written.mkdir()
    for name, text in {"flavor.env": render_flavor_env(facts), **texts}.items():
        (written / name).write_text(text, encoding="utf-8")
    grafts = {
        "appliance": APPLIANCE,
        "artifacts/engine": engine,
        **{f"artifacts/models/{name}": path for name, path in models.items()},
        "base-files": FILES,
        **files,
        **{path.name: path for path in written.iterdir()},
    }
    for script in flavor.provision:
        path = PROVISION / script
        if not path.is_file():
            raise HarnessError(f"flavor {flavor.name} names a provisioning script that is missing: {path}")
        grafts[f"provision/{script}"] = path
    run_tool(
        [
            find_tool("xorriso", "xorriso"),
            *("-as", "mkisofs", "-quiet", "-o", target, "-V", LABEL, "-R", "-J", "-joliet-long"),
            # Models of the larger flavors exceed 4 GiB, which needs level 3.
            *("-iso-level", "3", "-m", "__pycache__", "-graft-points"),
            *(f"{_escape(place)}={_escape(str(path))}" for place, path in grafts.items()),
        ],
        what="writing the staging disk",
        log=work / "staging.log",
    )


def _escape(path: str) -> str:
    """mkisofs takes the first bare `=` as the separator, and backslashes as escapes."""
    return path.replace("\\", "\\\\").replace("=", "\\=")
