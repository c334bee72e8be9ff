"""What is read from an image itself, by debugfs from a file system made here; and the released image."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import MODEL_SHA256, make_image

from harness.bundle import image_contents
from harness.bundle.disk import digests, qcow_facts, release_image
from harness.bundle.guest_files import copy_tree, file_sha256, read_file
from harness.bundle.image_contents import APPLIANCE_SCRIPT, read_contents
from harness.errors import HarnessError
from harness.gate.judge import Answer
from harness.gate.subject import Subject
from harness.machine.root_disk import RootDisk

FLAVOR_ENV = """\
SLM_ENGINE=llama-server
SLM_ENGINE_VERSION=0.5
SLM_FLAVOR=ci
SLM_MODEL_ID=tiny
SLM_MODEL_LICENSE=Apache-2.0
SLM_MODEL_NAME='Tiny Model'
SLM_VERSION=0.1.0
"""
STATUS = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> RootDisk:
    """A root file system 1 MiB into a disk."""
    folder = tmp_path_factory.mktemp("guest")
    files = {
        "usr/lib/os-release": 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n',
        "opt/slm-copilot/flavor.env": FLAVOR_ENV,
        "opt/slm-copilot/models/tiny.gguf": "weights",
        **{
            f"opt/slm-copilot/appliance/{name}": APPLIANCE_SCRIPT.with_name(name).read_text()
            for name in ("parameters.yaml", "appliance.sh")
        },
        "var/lib/dpkg/status": STATUS,
        "usr/share/doc/bash/copyright": "see /usr/share/common-licenses/GPL-3\n",
    }
    root = folder / "root"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    raw = folder / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(4 * 1024 * 1024)
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, "-E", "offset=1048576", raw, "3072k"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return RootDisk(raw, 1048576)


def test_files_and_folders_are_read_without_a_mount(disk: RootDisk, tmp_path: Path) -> None:
    assert read_file(disk, "/var/lib/dpkg/status").decode() == STATUS
    assert file_sha256(disk, "/opt/slm-copilot/models/tiny.gguf") == MODEL_SHA256
    assert (copy_tree(disk, "/usr/share/doc", tmp_path) / "bash" / "copyright").is_file()


def test_what_is_not_there_is_told(disk: RootDisk, tmp_path: Path) -> None:
    for read in (lambda: read_file(disk, "/none"), lambda: file_sha256(disk, "/none")):
        with pytest.raises(HarnessError, match="/none can't be read from the image"):
            read()
    with pytest.raises(HarnessError, match="/none can't be read from the image"):
        copy_tree(disk, "/none", tmp_path)


@pytest.fixture
def of_disk(disk: RootDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_contents, "root_disk", lambda _path: disk)


@pytest.mark.usefixtures("of_disk")
def test_the_contents_of_an_image(answer: Answer, tmp_path: Path) -> None:
    found = read_contents(answer.subject, tmp_path)
    assert (found.os_id, found.os_name, found.os_version) == ("debian", "Debian", "12")
    assert found.certification_base == "debian12"
    assert found.model_name == "Tiny Model"
    assert found.model_sha256 == MODEL_SHA256
    assert [(one.name, one.licences) for one in found.packages] == [("bash", ("GPL-3",))]
    assert found.one_apps_version == "stand-in"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("of_disk")
def test_papers_of_another_image_are_refused(answer: Answer, tmp_path: Path) -> None:
    foreign: Subject = replace(answer.subject, image=replace(answer.subject.image, flavor="release"))
    with pytest.raises(HarnessError, match=r"has SLM_FLAVOR=ci in it, its image\.json says release"):
        read_contents(foreign, tmp_path)


@pytest.mark.usefixtures("of_disk")
@pytest.mark.parametrize("name", ["parameters.yaml", "appliance.sh"])
def test_an_image_of_another_checkout_is_refused(
    name: str, answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry would ask for parameters that the image doesn't know."""
    for file in ("parameters.yaml", "appliance.sh"):
        text = APPLIANCE_SCRIPT.with_name(file).read_text()
        (tmp_path / file).write_text(text + ("# newer\n" if file == name else ""))
    monkeypatch.setattr(image_contents, "APPLIANCE_SCRIPT", tmp_path / "appliance.sh")
    with pytest.raises(HarnessError, match=f"has another {name} in it than this checkout"):
        read_contents(answer.subject, tmp_path)


def test_settings_that_no_shell_reads_are_told() -> None:
    assert image_contents.settings_of(b"# a\nA='b c'\nB=\n") == {"A": "b c", "B": ""}
    with pytest.raises(HarnessError, match="a line that no shell reads: NAME='Debian"):
        image_contents.settings_of(b"NAME='Debian\n")


@pytest.mark.usefixtures("of_disk")
def test_a_model_that_was_not_pinned_is_refused(answer: Answer, tmp_path: Path) -> None:
    parts = tuple(replace(part, sha256="cd" * 32) for part in answer.subject.parts or ())
    with pytest.raises(HarnessError, match=r"tiny.gguf in the image .* is none that was pinned"):
        read_contents(replace(answer.subject, parts=parts), tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_the_released_image_is_the_judged_disk_compressed(tmp_path: Path) -> None:
    judged = make_image(tmp_path)
    released = release_image(judged, tmp_path / "out.qcow2")
    facts = qcow_facts(tmp_path / "out.qcow2")
    assert facts.compression == "zstd"
    assert released.size < judged.stat().st_size
    assert released.virtual_size == facts.virtual_size == qcow_facts(judged).virtual_size
    content = (tmp_path / "out.qcow2").read_bytes()
    assert released.sha256 == hashlib.sha256(content).hexdigest()
    assert released.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.usefixtures("cache")
def test_an_image_that_is_compressed_already_is_released_as_it_is(tmp_path: Path) -> None:
    once = release_image(make_image(tmp_path), tmp_path / "once.qcow2")
    twice = release_image(tmp_path / "once.qcow2", tmp_path / "twice.qcow2")
    assert twice.sha256 == once.sha256


@pytest.mark.usefixtures("cache")
def test_a_disk_that_changed_on_its_way_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.bundle import disk as disks

    def another(_judged: Path, target: Path, *_: object) -> None:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", target, "4M"], check=True, timeout=30)

    monkeypatch.setattr(disks, "_convert", another)
    with pytest.raises(HarnessError, match="the compressed image isn't the judged disk"):
        release_image(make_image(tmp_path), tmp_path / "out.qcow2")


def test_both_digests_in_one_reading(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    assert digests(tmp_path / "file") == (
        MODEL_SHA256,
        hashlib.md5(b"weights", usedforsecurity=False).hexdigest(),
    )
