"""The bill of materials of a release: CycloneDX 1.6 JSON, the same bytes from the same inputs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from harness.bundle.debian_packages import DebianPackage, spdx_names
from harness.gate.subject import Part
from harness.image.parts import MODEL, SECOND_MODEL

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

PROPERTY = "slm-copilot"
"""Namespace of our properties in the document."""


@dataclass(frozen=True)
class Materials:
    """What a release is made of. `image_sha256` is that of the file in the bundle, `built` when the image was
    made; `model_sha256` was computed from the file in the image."""

    title: str
    version: str
    image_file: str
    image_sha256: str
    built: datetime
    os_id: str
    os_version: str
    engine: str
    engine_version: str
    model_file: str
    model_sha256: str
    parts: Sequence[Part]
    packages: Sequence[DebianPackage]


def sbom_json(materials: Materials) -> str:
    """The document. Raises ValueError when it isn't CycloneDX 1.6 by its schema: a defect of ours."""
    # Imported here: the library takes a second, and most commands make no bill.
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.output.json import JsonV1Dot6

    product = _component(
        "application", materials.title, materials.version, sha256=materials.image_sha256, ref="image"
    )
    product.properties = [Property(name=f"{PROPERTY}:file", value=materials.image_file)]
    components = [
        _component("operating-system", materials.os_id, materials.os_version, ref="os"),
        *(_part(part, materials) for part in materials.parts),
        *_engine(materials),
        *(_package(package, materials) for package in materials.packages),
    ]
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sha256:{materials.image_sha256}"),
        metadata=BomMetaData(component=product, timestamp=materials.built),
        components=components,
    )
    bom.register_dependency(product, components)
    # Once more through our own writer: sorted keys, so that the bytes don't depend on the library's order.
    text = json.dumps(json.loads(JsonV1Dot6(bom).output_as_string()), indent=1, sort_keys=True) + "\n"
    if problem := sbom_problem(text):
        raise ValueError(f"the bill of materials is not CycloneDX 1.6: {problem}")
    return text


@lru_cache(maxsize=8)
def sbom_problem(text: str) -> str:
    """What is wrong with a document by the strict schema of CycloneDX 1.6; "" for nothing."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    try:
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except (ValueError, RecursionError):
        return "is no JSON"
    return "" if error is None else " ".join(str(error.data.message).split())[:300]


def _engine(materials: Materials) -> Iterable[Component]:
    """The engine as it runs in the guest; the file it was built from is a part of its own."""
    licences = sorted({part.licence for part in materials.parts if part.role == "engine"})
    yield _component(
        "application",
        materials.engine,
        materials.engine_version,
        ref="engine",
        licences=_expressions(licences),
    )


def _part(part: Part, materials: Materials) -> Component:
    from cyclonedx.model import Property
    from packageurl import PackageURL

    is_model = part.role in (MODEL, SECOND_MODEL)
    if part.origin.startswith("pypi:"):
        project, _, version = part.origin.removeprefix("pypi:").partition("==")
        purl = PackageURL("pypi", name=project.lower().replace("_", "-"), version=version)
    else:
        purl = PackageURL(
            "generic",
            name=part.name,
            version=part.version,
            qualifiers={"download_url": part.origin, "checksum": f"sha256:{part.sha256}"},
        )
    component = _component(
        "machine-learning-model" if is_model else "application",
        part.name,
        part.version,
        sha256=part.sha256,
        ref=f"part:{part.name}",
        licences=_expressions([part.licence]),
        purl=purl,
        description=part.what,
    )
    properties = [Property(name=f"{PROPERTY}:file", value=part.file)]
    if is_model and part.sha256 == materials.model_sha256:
        properties.append(Property(name=f"{PROPERTY}:verified", value="sha256 of the file in the image"))
    component.properties = properties
    return component


def _package(package: DebianPackage, materials: Materials) -> Component:
    from cyclonedx.model import Property
    from packageurl import PackageURL

    distribution = materials.os_id.lower()
    component = _component(
        "library",
        package.name,
        package.version,
        ref=f"deb:{package.name}:{package.architecture}",
        licences=_debian_licences(package.licences),
        purl=PackageURL(
            "deb",
            namespace=distribution,
            name=package.name,
            version=package.version,
            qualifiers={"arch": package.architecture, "distro": f"{distribution}-{materials.os_version}"},
        ),
    )
    component.properties = [
        Property(name=f"{PROPERTY}:source", value=package.source),
        Property(
            name=f"{PROPERTY}:licences",
            value={
                "machine-readable": "named by the package's copyright file",
                "references": "references of the package's copyright file to /usr/share/common-licenses",
                "": f"not told in a form a program can read: /usr/share/doc/{package.name}/copyright",
            }[package.told_by],
        ),
    ]
    return component


def _component(
    kind: str,
    name: str,
    version: str,
    *,
    ref: str,
    sha256: str = "",
    licences: Iterable[License] = (),
    purl: object = None,
    description: str = "",
) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=name,
        version=version,
        type=ComponentType(kind),
        bom_ref=ref,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else None,
        licenses=licences,
        purl=purl,  # type: ignore[arg-type]
        description=description or None,
    )


def _debian_licences(names: Iterable[str]) -> list[License]:
    from cyclonedx.model.license import DisjunctiveLicense

    known = spdx_names()
    ids = {known[name.lower()] for name in names if name.lower() in known}
    others = {name for name in names if name.lower() not in known}
    return [
        *(DisjunctiveLicense(id=one) for one in sorted(ids)),
        *(DisjunctiveLicense(name=one) for one in sorted(others)),
    ]


def _expressions(licences: Iterable[str]) -> list[License]:
    """Licences as artifacts.yaml has them: SPDX identifiers, or expressions, of which there may be one."""
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from cyclonedx.spdx import is_supported_id

    told = sorted(set(licences))
    if not told:
        return []
    if all(is_supported_id(one) for one in told):
        return [DisjunctiveLicense(id=one) for one in told]
    joined = told[0] if len(told) == 1 else " AND ".join(f"({one})" for one in told)
    return [LicenseExpression(joined)]
