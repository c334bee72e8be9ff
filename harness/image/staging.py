"""The staging disk: an ISO with everything that the machine which Packer boots puts into the image."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.image.external_tool import find_tool, run_tool
from harness.image.flavor import Flavor
from harness.locations import REPOSITORY

LABEL = "SLM_STAGE"

APPLIANCE = REPOSITORY / "appliance"
PROVISION = REPOSITORY / "packer" / "provision"


def render_flavor_env(facts: Mapping[str, str]) -> str:
    """/opt/slm-copilot/flavor.env: KEY=value lines that bash can source, in sorted order."""
    return "".join(f"{name}={shlex.quote(facts[name])}\n" for name in sorted(facts))


def write_staging_iso(
    target: Path, *, flavor: Flavor, engine: Path, model: Path, facts: Mapping[str, str], work: Path
) -> None:
    """Write the ISO: /appliance, /artifacts/engine, /artifacts/models, /flavor.env and /provision.

    Nothing is copied first: xorriso takes the files from where they are. `work` is an existing folder for the
    flavor.env file and the log. Raises HarnessError when a provisioning script is missing or xorriso fails.
    """
    flavor_env = work / "flavor.env"
    flavor_env.write_text(render_flavor_env(facts), encoding="utf-8")
    grafts = {
        "appliance": APPLIANCE,
        "artifacts/engine": engine,
        f"artifacts/models/{model.name}": model,
        "flavor.env": flavor_env,
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
