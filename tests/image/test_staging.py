"""The staging disk: what lies on it where, read back from the ISO that xorriso wrote."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.errors import HarnessError
from harness.image import staging
from harness.image.artifacts import load_artifacts
from harness.image.base_definition import CloudImage, load_base
from harness.image.cloud_image import MIRROR_VARIABLE, render_base_env, render_seed
from harness.image.flavor import known_flavors, load_flavor
from harness.image.provenance import Part
from harness.image.staging import LABEL, PROVISION, base_files, staged_parts, write_staging_iso

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKexample slm-copilot-build\n"


@pytest.fixture
def ubuntu() -> CloudImage:
    base = load_base("ubuntu-24.04")
    assert isinstance(base, CloudImage)
    return base


def sourced(text: str) -> dict[str, str]:
    """What bash has of it."""
    names = [line.partition("=")[0] for line in text.splitlines()]
    shown = "; ".join(f"printf '%s\\0' \"${name}\"" for name in names)
    script = f"set -euo pipefail; source /dev/stdin <<<{shlex.quote(text)}; {shown}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return dict(zip(names, result.stdout.split("\0")[:-1], strict=True))


def test_everything_lies_where_the_scripts_look_for_it(tmp_path: Path, ubuntu: CloudImage) -> None:
    flavor = load_flavor("release")
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "server").write_text("engine")
    model, package = tmp_path / "big.gguf", tmp_path / "one=context.deb"
    model.write_text("GGUF")
    package.write_text("deb")
    iso = tmp_path / "staging.iso"
    write_staging_iso(
        iso,
        flavor=flavor,
        engine=engine,
        models={"big.gguf": model, "small-7b.gguf": model},
        facts={"SLM_FLAVOR": "release"},
        files={"artifacts/one-context/one-context.deb": package},
        texts=base_files(ubuntu, KEY),
        work=tmp_path,
    )
    listed = subprocess.run(
        ["xorriso", "-indev", iso, "-find", "/", "-type", "f", "-exec", "echo"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = set(shlex.split(listed.stdout))
    assert {f"/provision/{script}" for script in flavor.provision} == {
        path for path in found if path.startswith("/provision/")
    }
    assert {
        "/appliance/appliance.sh",
        "/artifacts/engine/server",
        "/artifacts/models/big.gguf",
        "/artifacts/models/small-7b.gguf",
        "/artifacts/one-context/one-context.deb",
        "/base-files/etc/ssh/sshd_config.d/10-slm-copilot.conf",
        "/base.env",
        "/flavor.env",
        "/meta-data",
        "/user-data",
    } <= found
    assert f"Volume id    : '{LABEL}'" in listed.stderr


def test_a_base_that_is_made_here_is_told_nothing() -> None:
    assert base_files(load_base("debian-13"), KEY) == {}


def test_only_the_key_of_this_build_lets_in() -> None:
    seed = render_seed(KEY)
    head, _, settings = seed["user-data"].partition("\n")
    assert head == "#cloud-config"
    told = yaml.safe_load(settings)
    (user,) = told["users"]
    assert (user["name"], user["lock_passwd"], user["ssh_authorized_keys"]) == ("root", True, [KEY.strip()])
    assert (told["disable_root"], told["ssh_pwauth"]) == (False, False)
    assert not {"password", "chpasswd", "plain_text_passwd"} & {*told, *user}
    assert json.loads(seed["meta-data"])["instance-id"]


def test_the_guest_is_told_all_that_its_base_says(
    ubuntu: CloudImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, "https://mirror.example/ubuntu/")
    told = sourced(render_base_env(ubuntu))
    assert told["BASE_PACKAGES"].split() == list(ubuntu.packages)
    assert told["BASE_PURGE"].split() == list(ubuntu.purge)
    assert told["BASE_DISABLE_UNITS"].split() == list(ubuntu.disable_units)
    assert told["BASE_MASK_UNITS"].split() == list(ubuntu.mask_units)
    assert dict(pair.split("=") for pair in told["BASE_VERSIONS"].split()) == dict(ubuntu.versions)
    assert told["BASE_MIRROR"] == "https://mirror.example/ubuntu/"


@pytest.mark.parametrize("mirror", ["mirror.example", "ftp://mirror", "https://a b", "file:///srv"])
def test_a_mirror_is_an_address(ubuntu: CloudImage, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, mirror)
    with pytest.raises(HarnessError, match=MIRROR_VARIABLE):
        render_base_env(ubuntu)


def test_the_downloads_with_a_place_are_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "obtain", lambda name, _: Part(name, Path(name), "ab", pinned=True))
    assert set(staged_parts(load_flavor("release"), load_artifacts())) == {
        "artifacts/one-context/one-context.deb",
        "artifacts/one-apps/service",
        "artifacts/one-apps/lib/common.sh",
        "artifacts/one-apps/lib/functions.sh",
        "artifacts/one-apps/hooks/net-90-service-appliance",
        "artifacts/one-apps/hooks/net-99-report-ready",
    }


@pytest.mark.parametrize("name", known_flavors())
def test_what_the_scripts_install_is_staged(name: str) -> None:
    """A script that names a folder of artifacts/ which no download and no part of the build fills would fail
    after the hours that the downloads took."""
    flavor = load_flavor(name)
    staged = {one.stage.split("/")[0] for one in load_artifacts().for_flavor(name) if one.stage}
    text = "".join((PROVISION / script).read_text() for script in flavor.provision)
    for folder in ("one-context", "one-apps"):
        assert (f"/{folder}/" in text) == (folder in staged), folder
