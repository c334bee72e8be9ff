"""What a release says of its image: read from the image itself, and held against its papers."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from harness.bundle.debian_packages import installed_packages
from harness.bundle.guest_files import copy_tree, file_sha256, read_file
from harness.bundle.product import Contents
from harness.errors import HarnessError
from harness.gate.subject import Subject
from harness.locations import REPOSITORY
from harness.machine.root_disk import RootDisk, root_disk

APPLIANCE_SCRIPT = REPOSITORY / "appliance" / "appliance.sh"

OS_RELEASE = "/usr/lib/os-release"
FLAVOR_ENV = "/opt/slm-copilot/flavor.env"
MODELS = "/opt/slm-copilot/models"
APPLIANCE = "/opt/slm-copilot/appliance"
TOLD = ("parameters.yaml", "appliance.sh")
"""What the bundle's texts are made from, or copied from, out of this checkout."""


def read_contents(subject: Subject, work: Path) -> Contents:
    """What the image itself tells, held against the papers beside it.

    Raises HarnessError when they contradict each other, or the model in it isn't the pinned file.
    """
    disk = root_disk(subject.image.path)
    system = settings_of(read_file(disk, OS_RELEASE))
    baked_in = settings_of(read_file(disk, FLAVOR_ENV))
    _require_papers(subject, baked_in)
    _require_this_checkout(disk, subject)
    doc = copy_tree(disk, "/usr/share/doc", _folder(work / ".guest"))
    status = read_file(disk, "/var/lib/dpkg/status").decode("utf-8", errors="replace")
    packages = installed_packages(status, doc)
    shutil.rmtree(work / ".guest")
    return Contents(
        os_id=system.get("ID", ""),
        os_name=system.get("NAME", "").split(" ")[0],
        os_version=system.get("VERSION_ID", ""),
        packages=packages,
        model_name=baked_in.get("SLM_MODEL_NAME", subject.image.model),
        model_licence=baked_in.get("SLM_MODEL_LICENSE", ""),
        model_sha256=_model_sha256(disk, subject),
    )


def _require_papers(subject: Subject, baked_in: dict[str, str]) -> None:
    image = subject.image
    for name, said in (
        ("SLM_FLAVOR", image.flavor),
        ("SLM_ENGINE", image.engine),
        ("SLM_ENGINE_VERSION", image.engine_version),
        ("SLM_MODEL_ID", image.model),
        ("SLM_VERSION", subject.version),
    ):
        if baked_in.get(name) != said:
            raise HarnessError(
                f"{image.path} has {name}={baked_in.get(name, '')} in it, its image.json says {said}",
                hint="the papers beside the image are of another one",
            )


def _require_this_checkout(disk: RootDisk, subject: Subject) -> None:
    """An image of another commit would be listed with parameters that it doesn't know."""
    for name in TOLD:
        if read_file(disk, f"{APPLIANCE}/{name}") != (APPLIANCE_SCRIPT.parent / name).read_bytes():
            raise HarnessError(
                f"{subject.image.path} has another {name} in it than this checkout",
                hint="make the bundle in a checkout of the commit that the image was built from",
            )


def _model_sha256(disk: RootDisk, subject: Subject) -> str:
    found = file_sha256(disk, f"{MODELS}/{subject.model_file}")
    pinned = [part for part in subject.parts or () if part.role == "model"]
    if not any(part.sha256 == found for part in pinned):
        raise HarnessError(
            f"the model {subject.model_file} in the image (sha256 {found}) is none that was pinned",
            hint=f"pinned: {', '.join(part.sha256 for part in pinned) or 'none'}",
        )
    return found


def settings_of(content: bytes) -> dict[str, str]:
    """NAME=value lines as shells and os-release(5) quote them."""
    settings = {}
    for line in content.decode("utf-8", errors="replace").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            try:
                settings[name] = "".join(shlex.split(value))
            except ValueError:
                raise HarnessError(f"the image has a line that no shell reads: {line[:80]}") from None
    return settings


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
