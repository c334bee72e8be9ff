"""Bases as they are and as they must not be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import HarnessError
from harness.image.artifacts import load_artifacts
from harness.image.base_definition import (
    BaseDefinition,
    CloudImage,
    known_bases,
    load_base,
    load_definition,
)
from harness.image.base_disk import base_key, require_versions
from harness.image.packer_tools import parse_version

MADE: dict[str, Any] = {
    "suite": "bookworm",
    "versions": {"nginx": "1.22"},
    "variant": "minbase",
    "packages": ["systemd", "nginx"],
    "exclude_paths": ["/usr/share/man/*"],
    "include_paths": [],
    "disable_units": [],
    "mask_units": ["dev-mqueue.mount"],
    "mask_generators": [],
    "disk": {"size_mib": 2048, "root_label": "root", "bytes_per_inode": 65536},
}
LIKE: dict[str, Any] = {
    "like": "old",
    "suite": "trixie",
    "versions": {"nginx": "1.26"},
    "add": {"packages": ["extra"], "mask_units": ["tmp.mount"]},
    "leave_out": {"packages": ["systemd"]},
}
CLOUD: dict[str, Any] = {
    "suite": "noble",
    "versions": {"nginx": "1.24"},
    "artifact": "base-tiny",
    "packages": ["nginx"],
    "purge": ["snapd"],
    "disable_units": [],
    "mask_units": [],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, MADE, "old")
    write(tmp_path, LIKE, "new")
    write(tmp_path, CLOUD, "cloud")
    return tmp_path


def write(folder: Path, data: object, name: str) -> None:
    (folder / f"{name}.yaml").write_text(data if isinstance(data, str) else yaml.safe_dump(data))


def test_a_base_is_read_as_written(folder: Path) -> None:
    assert load_base("old", folder) == BaseDefinition(
        name="old",
        suite="bookworm",
        versions={"nginx": "1.22"},
        variant="minbase",
        packages=("systemd", "nginx"),
        exclude_paths=("/usr/share/man/*",),
        include_paths=(),
        disable_units=(),
        mask_units=("dev-mqueue.mount",),
        mask_generators=(),
        size_mib=2048,
        root_label="root",
        bytes_per_inode=65536,
    )


def test_a_base_like_another_differs_in_what_it_names(folder: Path) -> None:
    assert load_base("new", folder) == replace(
        load_definition("old", folder),
        name="new",
        suite="trixie",
        versions={"nginx": "1.26"},
        packages=("nginx", "extra"),
        mask_units=("dev-mqueue.mount", "tmp.mount"),
    )


def test_a_published_image_is_a_base(folder: Path) -> None:
    assert load_base("cloud", folder) == CloudImage(
        name="cloud",
        suite="noble",
        versions={"nginx": "1.24"},
        artifact="base-tiny",
        packages=("nginx",),
        purge=("snapd",),
        disable_units=(),
        mask_units=(),
    )


def test_a_published_image_is_not_made_here(folder: Path) -> None:
    with pytest.raises(HarnessError, match="base cloud is downloaded as it is"):
        load_definition("cloud", folder)
    write(folder, {**LIKE, "like": "cloud"}, "new")
    with pytest.raises(HarnessError, match="base cloud is downloaded as it is"):
        load_base("new", folder)


@pytest.mark.parametrize("name", ["none", "", "../old", "Old", "old.yaml"])
def test_an_unknown_base_is_told_with_the_known_ones(folder: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="there is no base") as caught:
        load_base(name, folder)
    assert caught.value.hint == "known bases: cloud, new, old"


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("old", "suite: [", "is not valid YAML"),
        ("old", [], "must be a mapping"),
        ("old", {key: value for key, value in MADE.items() if key != "suite"}, "lacks suite"),
        ("old", {**MADE, "suites": "x"}, "has unknown suites"),
        ("old", {**MADE, "packages": "nginx"}, "packages: must be a list of names"),
        ("old", {**MADE, "packages": [1]}, "packages: must be a list of names"),
        ("old", {**MADE, "suite": ""}, "suite: must be a text"),
        ("old", {**MADE, "versions": {"nginx": 1.1}}, "nginx: must be a version in quotes, not 1.1"),
        ("old", {**MADE, "versions": {}}, "versions: must be a mapping"),
        ("old", {**MADE, "disk": {**MADE["disk"], "size_mib": "2G"}}, "size_mib: must be a whole number"),
        ("new", {**LIKE, "add": {"packages": ["nginx"]}}, "old has nginx already"),
        ("new", {**LIKE, "leave_out": {"packages": ["vim"]}}, "old has no vim"),
        ("new", {**LIKE, "add": {"disk": []}}, "add: has unknown disk"),
        ("new", {**LIKE, "packages": ["nginx"]}, "has unknown packages"),
        ("cloud", {**CLOUD, "disk": {}}, "has unknown disk"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(folder: Path, name: str, data: object, told: str) -> None:
    write(folder, data, name)
    with pytest.raises(HarnessError) as caught:
        load_base(name, folder)
    assert told in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("listing", "is_right"),
    [
        ("nginx 1.22.1-9+deb12u3\n", True),
        ("nginx 1:1.22.1-9\n", True),
        ("bash 5.2\nnginx 1.22\n", True),
        ("nginx 1.26.3-3\n", False),
        ("nginx 1.220-1\n", False),
        ("nginx 11.22-1\n", False),
        ("nginx-common 1.22.1\n", False),
        ("", False),
    ],
)
def test_a_build_that_gets_other_versions_fails(folder: Path, listing: str, is_right: bool) -> None:
    definition = load_definition("old", folder)
    if is_right:
        require_versions(definition, listing)
        return
    with pytest.raises(HarnessError, match=r"base old stands for nginx 1\.22; suite bookworm has "):
        require_versions(definition, listing)


def test_a_change_of_one_base_leaves_the_disk_of_another_as_it_is(folder: Path) -> None:
    old, new = (base_key(load_definition(name, folder)) for name in ("old", "new"))
    write(folder, {**LIKE, "suite": "forky"}, "new")
    assert base_key(load_definition("old", folder)) == old
    assert base_key(load_definition("new", folder)) != new


# --- the bases of this project


@pytest.mark.parametrize("name", known_bases())
def test_every_base_of_the_project_says_which_versions_it_stands_for(name: str) -> None:
    base = load_base(name)
    assert {"libc6", "systemd", "openssl", "openssh-server", "nginx", "certbot"} <= set(base.versions)


@pytest.mark.parametrize("name", known_bases())
def test_every_base_has_what_the_appliance_runs_on(name: str) -> None:
    wanted = {"nginx", "libnginx-mod-http-js", "openssl", "openssh-server", "ca-certificates", "curl", "jq"}
    wanted |= {"iproute2", "certbot", "libgomp1", "libstdc++6", "logrotate"}
    assert wanted <= set(load_base(name).packages)


def test_the_engine_is_compiled_for_the_oldest_c_library_of_all_bases() -> None:
    """A program runs on the glibc it was linked with and on every later one."""
    libraries = {parse_version(load_base(name).versions["libc6"]): load_base(name) for name in known_bases()}
    oldest = libraries[min(version for version in libraries if version is not None)]
    assert load_artifacts().system.suite == oldest.suite
