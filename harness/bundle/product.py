"""All that a bundle's texts are made from: declaration, judged image, released file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.bundle.debian_packages import DebianPackage
from harness.bundle.declaration import Declaration
from harness.gate.subject import Subject
from harness.parameters import Parameter

STANDIN = "stand-in"
"""Where OpenNebula's packages would tell their version and the image has none of them."""


@dataclass(frozen=True)
class ReleasedImage:
    """The image file in the bundle. `virtual_size` and `size` in bytes: of the disk, and of the file."""

    file: str
    size: int
    virtual_size: int
    sha256: str
    md5: str
    compression: str


@dataclass(frozen=True)
class Contents:
    """What was read from the image itself. `model_sha256` is that of the model's file in it."""

    os_id: str
    os_name: str
    os_version: str
    packages: tuple[DebianPackage, ...]
    model_name: str
    model_licence: str
    model_sha256: str

    @property
    def one_apps_version(self) -> str:
        """Version of OpenNebula's contextualization package, or that there is none."""
        found = [package.version for package in self.packages if package.name == "one-context"]
        return found[0] if found else STANDIN

    @property
    def certification_base(self) -> str:
        """The distribution as the community's tests call it: ubuntu2404, debian12."""
        return f"{self.os_id}{self.os_version.replace('.', '')}"


@dataclass(frozen=True)
class Product:
    """One release."""

    declaration: Declaration
    subject: Subject
    contents: Contents
    image: ReleasedImage
    parameters: Sequence[Parameter]
    built: datetime
    upload: bool

    @property
    def version(self) -> str:
        """Of the appliance in the image."""
        return self.subject.version

    @property
    def image_name(self) -> str:
        """Of the image in the marketplace: its file without the suffix."""
        return self.image.file.removesuffix(".qcow2")
