"""What an image was made of, written down beside it: for its bill of materials and for the gate."""

from __future__ import annotations

from collections.abc import Iterable

from harness.image.artifacts import Artifacts
from harness.image.flavor import Flavor
from harness.image.provenance import Part

MODEL = "model"
SECOND_MODEL = "second model"
ENGINE = "engine"


def parts_of(flavor: Flavor, artifacts: Artifacts, found: Iterable[Part] = ()) -> list[dict[str, str]]:
    """The downloads of a flavor as image.json tells them: name, version, the file that was used and its
    sha256, licence, what it is, where it came from, and `role` (model, second model, engine, or "").
    `found` are those whose hash artifacts.yaml may not have."""
    by_name = {part.name: part for part in found}
    second = (artifacts.download(flavor.second_model.artifact),) if flavor.second_model else ()
    return [
        {
            "name": one.name,
            "version": one.version,
            "file": by_name[one.name].path.name if one.name in by_name else one.wanted.file,
            "sha256": by_name[one.name].digest if one.name in by_name else one.wanted.sha256,
            "licence": one.licence,
            "what": one.what,
            "origin": one.url or (f"oci:{one.image}" if one.image else f"pypi:{one.package}"),
            "role": _role(one.name, flavor),
        }
        for one in (*artifacts.for_flavor(flavor.name, flavor.engine), *second)
        if not one.optional
    ]


def _role(name: str, flavor: Flavor) -> str:
    if name == flavor.model_artifact:
        return MODEL
    if flavor.second_model and name == flavor.second_model.artifact:
        return SECOND_MODEL
    return ENGINE if name.startswith((f"{ENGINE}-", flavor.engine)) else ""
