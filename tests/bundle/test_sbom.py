"""The bill of materials: what it names, with which licences, and that it is CycloneDX 1.6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import MODEL_SHA256

from harness.bundle.debian_packages import installed_packages, licences_of
from harness.bundle.sbom import sbom_problem


@pytest.fixture(scope="module")
def bill(bundle: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((bundle / "slm-copilot-ci-0.1.0.cdx.json").read_text())
    return read


def component(bill: dict[str, Any], ref: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in bill["components"] if one["bom-ref"] == ref)
    return found


def test_it_is_the_bill_of_the_image_in_the_bundle(bill: dict[str, Any], bundle: Path) -> None:
    product = bill["metadata"]["component"]
    sha256 = (bundle / "slm-copilot-ci-0.1.0.qcow2.sha256").read_text().split()[0]
    assert product["hashes"] == [{"alg": "SHA-256", "content": sha256}]
    assert bill["metadata"]["timestamp"] == "2026-01-31T09:45:00+00:00"
    assert {one["ref"] for one in bill["dependencies"]} >= {"image"}


def test_model_and_engine_have_their_hashes_and_licences(bill: dict[str, Any]) -> None:
    model = component(bill, "part:model-tiny")
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["content"] == MODEL_SHA256
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {"name": "slm-copilot:verified", "value": "sha256 of the file in the image"} in model["properties"]
    engine = component(bill, "engine")
    assert (engine["name"], engine["version"]) == ("llama-server", "0.5")
    assert engine["licenses"] == [{"license": {"id": "MIT"}}]
    assert component(bill, "part:engine-source")["purl"] == "pkg:pypi/engine@0.3"


def test_packages_have_their_licences_by_spdx_where_it_knows_them(bill: dict[str, Any]) -> None:
    assert component(bill, "deb:bash:amd64")["purl"] == "pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12"
    nginx = component(bill, "deb:nginx:amd64")
    assert nginx["licenses"] == [{"license": {"id": "BSD-2-Clause"}}, {"license": {"name": "Odd"}}]
    untold = component(bill, "deb:python3:amd64")
    assert "licenses" not in untold
    assert any("not told in a form a program can read" in one["value"] for one in untold["properties"])


def test_a_document_of_another_schema_is_told() -> None:
    assert sbom_problem("{}") != ""
    assert sbom_problem('{"bomFormat": "CycloneDX", "specVersion": "1.6", "surprise": 1}') != ""


COMMON = "/usr/share/common-licenses"
MACHINE_READABLE = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+ or Artistic

Files: b
License: Expat
 The text of the licence.

License: Permission to use this, and more words of a text
"""


@pytest.mark.parametrize(
    ("text", "licences", "told_by"),
    [
        (MACHINE_READABLE, ("Expat", "GPL-2+ or Artistic"), "machine-readable"),
        (f"See {COMMON}/GPL-2.\nor {COMMON}/LGPL-2.1,", ("GPL-2", "LGPL-2.1"), "references"),
        ("Do what you like.", (), ""),
        ("", (), ""),
    ],
)  # fmt: skip
def test_the_licences_of_a_copyright_file(text: str, licences: tuple[str, ...], told_by: str) -> None:
    assert licences_of(text) == (licences, told_by)


STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib (1:1.2)
Version: 1:1.2
Description: a library
 Package: not a field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2
"""


def test_the_installed_packages_with_the_licences_of_linked_folders(tmp_path: Path) -> None:
    doc = tmp_path / "doc"
    (doc / "base").mkdir(parents=True)
    (doc / "base" / "copyright").write_text(MACHINE_READABLE)
    (doc / "zlib1g").symlink_to("base")
    (tmp_path / "copyright").write_text(MACHINE_READABLE)
    (doc / "bash").symlink_to("..")  # leads out of the guest's folder
    bash, zlib = installed_packages(STATUS, doc)
    assert (zlib.name, zlib.version, zlib.source, zlib.told_by) == (
        "zlib1g",
        "1:1.2",
        "zlib",
        "machine-readable",
    )
    assert (bash.source, bash.licences) == ("bash", ())
