"""Where an image's base disk comes from: made here of packages, or published by its distribution."""

from __future__ import annotations

from pathlib import Path

from harness.image.artifacts import Artifacts, fetch
from harness.image.base_definition import Base, BaseDefinition
from harness.image.base_disk import FILES, base_key, build_base_disk
from harness.image.content_key import content_key, folder_inputs


def get_base_disk(base: Base, artifacts: Artifacts) -> Path:
    """The base's disk (qcow2), from the cache, made or downloaded now. Raises HarnessError."""
    if isinstance(base, BaseDefinition):
        return build_base_disk(base)
    return fetch(base.artifact, artifacts)


def base_input(base: Base, artifacts: Artifacts) -> str:
    """Content key of everything that the base gives to an image."""
    if isinstance(base, BaseDefinition):
        return base_key(base)
    return content_key(
        {
            "base": repr(base),
            "disk": artifacts.download(base.artifact).expected.sha256,
            **folder_inputs(FILES, "files"),
        }
    )
