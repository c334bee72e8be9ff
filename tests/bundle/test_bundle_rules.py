"""The validator: a bundle as it is made breaks no rule, each broken variant is told. A variant is a line."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.bundle.sums import write_sums
from harness.bundle.validate import problems_of
from harness.bundle.validate_contribution import contribution_problems
from harness.bundle.validate_listing import listing_problems
from harness.bundle.validate_yaml import yaml_problem
from harness.errors import HarnessError
from harness.results.model import read_results, write_results
from harness.results.seal import sealed

NAME = "slm-copilot"
Change = Callable[[dict[str, Any]], object]


def own_folder(bundle: Path) -> Path:
    return bundle / "marketplace" / "appliances" / NAME


def listing_file(bundle: Path) -> Path:
    return next(path for path in own_folder(bundle).glob("*-*-*-*-*.yaml"))


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def listing(bundle: Path) -> dict[str, Any]:
    read: dict[str, Any] = parsed(listing_file(bundle))
    return read


def test_a_bundle_as_it_is_made_breaks_no_rule(bundle: Path) -> None:
    assert problems_of(bundle) == []


# --- <uuid>.yaml


def put(*path: str | int, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def drop(*path: str | int) -> Change:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]

    return change


T = "opennebula_template"
INPUT = "oneapp_slm_threads"

LISTINGS: list[tuple[Change, str]] = [
    (put("version", value=0.1), "version: must be a text, not 0.1"),
    (put("opennebula_version", value=6.1), "opennebula_version: must be a text, not 6.1"),
    (put("opennebula_version", value="seven"), "opennebula_version: must be versions like"),
    (drop("opennebula_version"), "opennebula_version: must be a text, not None"),
    (put("os-release", value=12), "os-release: must be a text, not 12"),
    (drop("publisher"), "publisher: must be a text"),
    (put("publisher_email", value="someone"), "publisher_email: 'someone' is no address"),
    (put("short_description", value=" "), "short_description: must be a text"),
    (put("one-apps_version", value="latest"), "one-apps_version: must be like 7.2.1-0"),
    (put("id", value="another"), "id: 'another' isn't the file's name"),
    (put("type", value="VMTEMPLATE"), "type: must be absent"),
    (put("colour", value="red"), "colour: is no key of an entry"),
    (put("format", value="qcow"), "format: must be one of qcow2, raw, vmdk"),
    (put("os-arch", value="amd64"), "os-arch: must be one of x86_64, aarch64"),
    (put("hypervisor", value="qemu"), "hypervisor: must be one of KVM, ALL"),
    (put("tags", value="ai, llm"), "tags: must be a list of texts"),
    (put("tags", value=[]), "tags: must be a list of texts"),
    (put("tags", value=["ai", "ai"]), "tags: has one twice"),
    (put("creation_time", value="1769852700"), "creation_time: must be whole seconds since 1970"),
    (put("creation_time", value=True), "creation_time: must be whole seconds"),
    (put("creation_time", value=17), "creation_time: must be whole seconds"),
    (put("logo", value="images/logos/slm-copilot.png"), "logo: must be slm-copilot.png"),
    (drop(T), "opennebula_template: is no mapping"),
    (put(T, "vcpu", value=2), f"{T}: vcpu: must be a text, not 2"),
    (put(T, "context", "network", value=True), f"{T}: context.network: must be a text, not True"),
    (put(T, "graphics", "listen", value=""), f"{T}: graphics.listen: is empty"),
    (put(T, "context", "note", value='say "hi"'), "context.note: holds a double quote"),
    (put(T, "MEMORY", value="1024"), "MEMORY: is given twice, for case doesn't count"),
    (put(T, "disk", value={"image": "x"}), "disk: must be absent"),
    (drop(T, "vcpu"), "vcpu: must be a whole number; without it the VM has one"),
    (put(T, "memory", value="2 GB"), "memory: must be whole MiB"),
    (put(T, "cpu", value="two"), "cpu: must be a number"),
    (drop(T, "cpu_model"), "cpu_model.model: must be host-passthrough"),
    (put(T, "cpu_model", "model", value="qemu64"), "cpu_model.model: must be host-passthrough"),
    (put(T, "os", "arch", value="i686"), "os.arch: must be x86_64 or aarch64"),
    (put(T, "nic_default", "model", value="e1000"), "nic_default.model: must be virtio"),
    (drop(T, "graphics"), "graphics.type: must be vnc or spice"),
    (put(T, "logo", value="slm-copilot.png"), "logo: must be images/logos/slm-copilot.png"),
    (drop(T, "context", "token"), "context.token: must be 'YES'"),
    (drop(T, "context", "report_ready"), "context.report_ready: must be 'YES'"),
    (put(T, "context", "ssh_public_key", value="ssh-ed25519 AAAA"), "context.ssh_public_key: must be '$USER"),
    (put(T, "context", "set_hostname", value="copilot"), "context.set_hostname: must be '$NAME'"),
    (
        put(T, "context", INPUT, value="8"),
        f"context.{INPUT}: must be $ONEAPP_SLM_THREADS; anything else hides",
    ),
    (drop(T, "context", INPUT), f"user_inputs.{INPUT}: the answer goes nowhere"),
    (drop(T, "user_inputs", INPUT), f"context.{INPUT}: nobody is asked for it"),
    (put(T, "user_inputs", INPUT, value="O|text|Threads|0"), f"user_inputs.{INPUT}: has 4 parts"),
    (put(T, "user_inputs", INPUT, value="O|boolean|All| |yes"), "a boolean's is YES or NO"),
    (put(T, "user_inputs", value="none"), "context and user_inputs: must be mappings"),
    (put(T, "inputs_order", value="ONEAPP_SLM_THREADS"), "inputs_order: must name each of user_inputs once"),
    (drop("images"), "images: must be a list with one image"),
    (put("images", value=[{}, {}]), "images: must be a list with one image"),
    (put("images", 0, "type", value="DATABLOCK"), "images.type: must be OS"),
    (put("images", 0, "dev_prefix", value="sd"), "images.dev_prefix: must be vd"),
    (put("images", 0, "driver", value="raw"), "images.driver: must be qcow2"),
    (put("images", 0, "name", value=7), "images.name: must be a text"),
    (put("images", 0, "size", value="4194304"), "images.size: must be whole bytes"),
    (put("images", 0, "size", value=True), "images.size: must be whole bytes"),
    (put("images", 0, "url", value="ftp://x/y"), "images.url: 'ftp://x/y' is no address"),
    (put("images", 0, "url", value="https://[::1"), "images.url: 'https://[::1' is no address"),
    (put(T, "user_inputs", value=5), "context and user_inputs: must be mappings"),
    (drop("images", 0, "checksum", "md5"), "images.checksum.md5: must be 32"),
    (
        put("images", 0, "checksum", "sha256", value="AB" * 32),
        "images.checksum.sha256: must be 64 lower-case",
    ),
]


def told(listing: dict[str, Any], *, upload: bool = False) -> list[str]:
    uuid = "5ca3777f-2b2f-4a05-a9c9-698d779e492f.yaml"
    return list(listing_problems(listing, uuid, NAME, upload=upload))


def test_the_entry_as_it_is_made_breaks_no_rule(listing: dict[str, Any]) -> None:
    assert told(listing) == []


@pytest.mark.parametrize(("change", "words"), LISTINGS, ids=[words for _, words in LISTINGS])
def test_a_broken_entry_is_told(change: Change, words: str, listing: dict[str, Any]) -> None:
    broken = copy.deepcopy(listing)
    change(broken)
    assert any(words in problem for problem in told(broken)), told(broken)


def test_what_stands_for_none_is_not_uploaded(listing: dict[str, Any]) -> None:
    found = told(listing, upload=True)
    assert [one.partition(":")[0] for one in found] == ["publisher_email", "one-apps_version", "images.url"]


# --- the files beside it

PARAMS = (":app", ":context", ":params")
METADATA: list[tuple[Change, str]] = [
    (put(":app", ":name", value="slm_copilot"), ":app :name must be slm-copilot"),
    (put(":app", ":type", value="appliance"), ":app :type must be service or distro"),
    (put(":app", ":os", ":type", value="debian"), ":app :os :type must be linux"),
    (put(":app", ":os", ":base", value="Debian 12"), ":app :os :base must be a distribution like ubuntu2404"),
    (put(":app", ":hypervisor", value="qemu"), ":app :hypervisor must be KVM"),
    (put(":app", ":context", ":prefixed", value="yes"), ":app :context :prefixed must be True or False"),
    (drop(":app", ":context"), ":app :context :params must be a mapping"),
    (put(*PARAMS, value={":ONEAPP_SLM_THREADS": "2"}), "would become ONEAPP_ONEAPP_SLM_THREADS"),
    (put(*PARAMS, value={":SLM_COLOUR": "red"}), ":SLM_COLOUR is none of user_inputs"),
    (put(*PARAMS, value={"SLM_THREADS": "2"}), "must be a symbol"),
    (put(*PARAMS, value={":SLM_THREADS": 2}), ":SLM_THREADS must be a text"),
    (put(*PARAMS, value={":SLM_DOMAIN": "a,b"}), ":SLM_DOMAIN must be a text of letters"),
    (put(*PARAMS, value={":SLM_DOMAIN": "$HOME"}), ":SLM_DOMAIN must be a text of letters"),
    (put(":one", ":timeout", value=90), ":one :timeout must be seconds as a text"),
    (put(":one", ":template", "NAME", value=""), ":one :template NAME must be the name"),
    (drop(":one", ":datastore_name"), ":one :datastore_name must be the name of a datastore"),
    (put(":infra", ":disk_format", value="raw"), ":infra :disk_format must be qcow2"),
    (put(":infra", ":apps_path", value="export"), ":infra :apps_path must be a folder"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), METADATA, ids=[words for _, words in METADATA])
def test_broken_metadata_is_told(change: Change, words: str, bundle: Path, listing: dict[str, Any]) -> None:
    own = own_folder(bundle)
    documents = {name: parsed(own / name) for name in ("metadata.yaml", "tests.yaml", "context.yaml")}
    change(documents["metadata.yaml"])
    found = contribution_problems(own, NAME, listing, documents)
    assert any(words in problem for problem in found), found
    assert all(problem.startswith("metadata.yaml") for problem in found)


Edit = Callable[[Path], object]


def write(name: str, text: str) -> Edit:
    return lambda own: (own / name).write_text(text)


def replace_in(name: str, old: str, new: str) -> Edit:
    def edit(own: Path) -> None:
        path = own / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def remove(name: str) -> Edit:
    return lambda own: (own / name).unlink()


SPEC = "tests/00-slm-copilot_basic.rb"
LOGO = "../../logos/slm-copilot.png"
HEADING = "## [0.1.0] - 2026-01-31"
FILES: list[tuple[Edit, str]] = [
    (write("tests.yaml", "---\n{}\n"), "tests.yaml: must be a list of specs"),
    (write("tests.yaml", "---\n- '00-slm-copilot\\_basic.rb'\n"), "isn't called like 00-slm-copilot"),
    (write("tests.yaml", "---\n- '01-slm-copilot_more.rb'\n"), "there is no tests/01-slm-copilot_more.rb"),
    (write("tests/01-slm-copilot_more.rb", "x"), "doesn't name 01-slm-copilot_more.rb, which"),
    (replace_in(SPEC, "../../../lib", "../../lib"), "must load the library by require_relative"),
    (replace_in(SPEC, "include_context('vm_handler')", ""), "must include_context('vm_handler')"),
    (replace_in(SPEC, "wait_until(", "wait_until_ready("), "wait_until_ready doesn't exist"),
    (write("context.yaml", "---\n:tests:\n  :image_name: x\n"), "has no entry :tests slm-copilot"),
    (replace_in("context.yaml", "context-kvm", "kvm"), "context.yaml: :microenvs must be ['context-kvm']"),
    (remove("metadata.yaml"), "metadata.yaml: is missing"),
    (remove("README.md"), "README.md: is missing"),
    (replace_in("README.md", "# Quick Start", "# Start"), "README.md: has no section # Quick Start"),
    (replace_in("README.md", "`ONEAPP_SLM_THREADS`", "threads"), "doesn't tell of ONEAPP_SLM_THREADS"),
    (remove("CHANGELOG.md"), "CHANGELOG.md: is missing"),
    (replace_in("CHANGELOG.md", HEADING, "## [Unreleased]"), "doesn't begin with version 0.1.0"),
    (replace_in("CHANGELOG.md", HEADING, "## [0.1.0]"), "the version has no date"),
    (remove(LOGO), "logos/slm-copilot.png: is missing"),
    (lambda own: (own / LOGO).write_bytes(b"GIF89a"), "is no readable PNG"),
    (remove("appliance.sh"), "appliance.sh: is missing"),
    (replace_in("appliance.sh", "service_bootstrap()", "bootstrap()"), "doesn't define service_bootstrap"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), FILES, ids=[words for _, words in FILES])
def test_a_broken_contribution_is_told(
    edit: Edit, words: str, bundle: Path, listing: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(bundle / "marketplace", tmp_path / "marketplace")
    own = own_folder(tmp_path)
    edit(own)
    there = [own / name for name in ("metadata.yaml", "tests.yaml", "context.yaml")]
    found = contribution_problems(
        own, NAME, listing, {path.name: parsed(path) for path in there if path.is_file()}
    )
    assert any(words in problem for problem in found), found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n", "missing document start"),
        ("---\na: 1", "no new line character at the end of file"),
        ("---\na: 1  \n", "trailing spaces"),
        ("---\na: yes\n", "truthy value"),
        ("---\na: 1\na: 2\n", 'duplication of key "a"'),
        ("---\na: {b\n", "syntax error"),
    ],
)
def test_what_the_communitys_linter_complains_about_is_told(text: str, words: str) -> None:
    assert words in yaml_problem(text)


# --- the whole bundle


def renamed(old: str, new: str) -> Edit:
    return lambda bundle: (bundle / old).rename(bundle / new)


def rebuilt_image(bundle: Path) -> None:
    """Another disk under the same name: everything that speaks of the image is about another one now."""
    (image,) = bundle.glob("*.qcow2")
    image.unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "8M"], check=True, timeout=30)


def overlay(bundle: Path) -> None:
    (image,) = bundle.glob("*.qcow2")
    base = image.rename(bundle / "base.img")
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, image], check=True, timeout=30
    )


def in_listing(change: Change) -> Edit:
    def edit(bundle: Path) -> None:
        path = listing_file(bundle)
        document = parsed(path)
        change(document)
        path.write_text(yaml.safe_dump(document, explicit_start=True))

    return edit


def uncompressed(bundle: Path) -> None:
    (image,) = bundle.glob("*.qcow2")
    packed = image.rename(bundle / "packed.img")
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", packed, image], check=True, timeout=30)


def in_evidence(name: str, old: str, new: str) -> Edit:
    def edit(bundle: Path) -> None:
        (path,) = bundle.glob(f"evidence/*/{name}")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def of_another_image(bundle: Path) -> None:
    """Evidence that is as it was written, but of another image."""
    (path,) = bundle.glob("evidence/*/results.json")
    read = read_results(path)
    other = replace(read, image=replace(read.image, sha256="ab" * 32))
    write_results(sealed(other, path.parent, path.with_name("junit.xml").read_text()), path)


def linked(bundle: Path) -> None:
    own_folder(bundle).joinpath("README.md").unlink()
    own_folder(bundle).joinpath("README.md").symlink_to(bundle / NOTES)


APPLIANCES = "marketplace/appliances"
IMAGE = "slm-copilot-ci-0.1.0.qcow2"
SBOM = "slm-copilot-ci-0.1.0.cdx.json"
NOTES = "RELEASE-NOTES.md"
WHOLE: list[tuple[Edit, str]] = [
    (renamed(f"{APPLIANCES}/{NAME}", f"{APPLIANCES}/slm-copilot2"), "appliance name 'slm-copilot2'"),
    (renamed(f"{APPLIANCES}/{NAME}", f"{APPLIANCES}/slm_copilot"), "appliance name 'slm_copilot'"),
    (lambda b: (b / APPLIANCES / "other").mkdir(), "marketplace/appliances has 2 folders"),
    (lambda b: listing_file(b).rename(own_folder(b) / "slm.yaml"), "one file <uuid>.yaml in lower case"),
    (lambda b: listing_file(b).rename(own_folder(b) / listing_file(b).name.upper()), "one file <uuid>.yaml"),
    (lambda b: listing_file(b).write_text("---\n- 1\n"), "is no mapping"),
    (rebuilt_image, "images.size: is 4194304, the disk has 8388608 bytes"),
    (rebuilt_image, f"images.checksum.md5: isn't that of {IMAGE}"),
    (rebuilt_image, "RELEASE-NOTES.md: are of another image"),
    (in_listing(put("images", 0, "size", value=328192)), "the virtual size and not the file's"),
    (in_listing(put("images", 0, "url", value="https://e.org/x.qcow2")), f"doesn't end with {IMAGE}"),
    (in_listing(put("images", 0, "checksum", "sha256", value="ab" * 32)), ".cdx.json: is of another image"),
    (overlay, "needs another file, its backing image"),
    (lambda b: (b / IMAGE).write_bytes(b"x" * 4096), f"{IMAGE}: is raw, the entry says qcow2"),
    (remove(IMAGE), "there are 0 images"),
    (remove(f"{IMAGE}.sha256"), f"{IMAGE}.sha256: is missing"),
    (write(f"{IMAGE}.md5", "0" * 32), f"{IMAGE}.md5: isn't the digest"),
    (remove(SBOM), ".cdx.json: is missing"),
    (replace_in(SBOM, '"specVersion": "1.6"', '"specVersion": "1.9"'), ".cdx.json: is no CycloneDX 1.6"),
    (replace_in(SBOM, '"alg": "SHA-256"', '"alg": "SHA"'), f"{SBOM}: "),
    (replace_in(SBOM, "machine-learning-model", "file"), ".cdx.json: has no model"),
    (remove("RELEASE-NOTES.md"), "RELEASE-NOTES.md: is missing"),
    (replace_in(NOTES, "## The gate", "## Gate"), "RELEASE-NOTES.md: has no section ## The gate"),
    (lambda b: shutil.rmtree(b / "evidence"), "evidence: there are no results"),
    (in_evidence("results.json", '"passed": 1', '"passed": 9'), "was changed after it was written"),
    (in_evidence("results.json", '"value": 31.5', '"value": 1.5'), "was changed after it was written"),
    (in_evidence("results.json", '"wall_s": 60.0', '"wall_s": 1e999'), "was changed after it was written"),
    (in_evidence("results.json", '"seal": {', '"seal": null, "sale": {'), "doesn't follow the results"),
    (in_evidence("junit.xml", "<testsuites", "<testsuites "), "was changed after it was written"),
    (of_another_image, "judged an image (abababababab) that RELEASE-NOTES.md doesn't name"),
    (uncompressed, f"{IMAGE}: isn't compressed"),
    (in_listing(put("description", value="An assistant.")), "doesn't say that the host needs QEMU 5.1"),
    (linked, f"{APPLIANCES}/{NAME}/README.md: is a symbolic link"),
    (lambda b: (b / NOTES).write_bytes(b"\xff"), f"{NOTES}: is no UTF-8 text"),
    (lambda b: listing_file(b).write_bytes(b"\xff"), ".yaml: is no UTF-8 text"),
    (lambda b: listing_file(b).write_text("---\na: 2026-99-99\n"), "is no mapping"),
    (lambda b: (b / SBOM).write_text("{"), f"{SBOM}: is no JSON"),
    (lambda b: (b / SBOM).write_text("[" * 100_000), f"{SBOM}: is no JSON"),
    (remove("NOT-FOR-UPLOAD.txt"), "but not by the file NOT-FOR-UPLOAD.txt"),
    (in_listing(put("name", value="SLM-Copilot")), "but not by the name"),
    (in_listing(put("tags", value=["ai"])), "but not by the tag"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), WHOLE, ids=[f"{n} {words}" for n, (_, words) in enumerate(WHOLE)])
def test_a_broken_bundle_is_told(edit: Edit, words: str, bundle: Path, tmp_path: Path) -> None:
    copied = tmp_path / "bundle"
    shutil.copytree(bundle, copied)
    edit(copied)
    write_sums(copied)  # what is told isn't only that the sums don't fit
    found = problems_of(copied)
    assert any(words in problem for problem in found), found


def test_a_file_that_was_changed_added_or_lost_breaks_the_sums(bundle: Path, tmp_path: Path) -> None:
    copied = tmp_path / "bundle"
    shutil.copytree(bundle, copied)
    (copied / "RELEASE-NOTES.md").write_text((bundle / "RELEASE-NOTES.md").read_text() + "and more\n")
    (copied / "extra").write_text("")
    (copied / f"{IMAGE}.md5").unlink()
    found = problems_of(copied)
    assert "RELEASE-NOTES.md is not what SHA256SUMS says" in found
    assert "extra isn't listed in SHA256SUMS" in found
    assert f"{IMAGE}.md5 is missing, SHA256SUMS lists it" in found
    (copied / "SHA256SUMS").unlink()
    assert "SHA256SUMS is missing" in problems_of(copied)


def test_what_is_not_for_upload_is_refused_for_upload(bundle: Path) -> None:
    found = problems_of(bundle, upload=True)
    assert any(problem.startswith("is marked as not for upload: by the file") for problem in found)
    assert any("publisher_email: is still the one that stands for none" in problem for problem in found)
    assert any("one-apps_version" in problem for problem in found)


def test_a_folder_that_is_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="there is no bundle"):
        problems_of(tmp_path / "none")
    assert problems_of(tmp_path) == ["marketplace/appliances has 0 folders, one appliance is wanted"]
