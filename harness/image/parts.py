"""What an image was made of, written down beside it: for its bill of materials and for the gate."""

from __future__ import annotations

from harness.image.artifacts import Artifacts
from harness.image.flavor import Flavor

MODEL = "model"


def parts_of(flavor: Flavor, artifacts: Artifacts) -> list[dict[str, str]]:
    """The downloads of a flavor as image.json tells them: name, version, the file that was used and its
    sha256, licence, what it is, where it came from, and `role` (model, or "")."""
    return [
        {
            "name": one.name,
            "version": one.version,
            "file": one.wanted.file,
            "sha256": one.wanted.sha256,
            "licence": one.licence,
            "what": one.what,
            "origin": one.url or f"pypi:{one.package}",
            "role": MODEL if one.name == flavor.model_artifact else "",
        }
        for one in artifacts.for_flavor(flavor.name)
    ]
