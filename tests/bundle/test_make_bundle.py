"""Making a bundle: the same bytes from the same inputs, all of it or nothing, and never without a PASS."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import BUILT, VIRTUAL_SIZE, answer_for, as_flavor, bundle_of, contents

from harness.bundle import make, validate, whole_folder
from harness.bundle.declaration import load_declaration
from harness.bundle.disk import release_image
from harness.bundle.make import Sources, make_bundle
from harness.bundle.product import Contents, ReleasedImage
from harness.errors import HarnessError
from harness.gate.judge import Answer
from harness.gate.subject import Subject

NAME = "slm-copilot-ci-0.1.0-not-for-upload"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def listing_of(bundle: Path) -> dict[str, Any]:
    (path,) = bundle.glob("marketplace/appliances/slm-copilot/*-*-*-*-*.yaml")
    read: dict[str, Any] = yaml.safe_load(path.read_text())
    return read


def test_the_same_inputs_give_the_same_bytes(bundle: Path, answer: Answer, tmp_path: Path) -> None:
    again = bundle_of(answer, tmp_path / "release")
    assert again.name == bundle.name == NAME
    assert files_of(again) == files_of(bundle)


def test_a_bundle_has_all_its_parts(bundle: Path) -> None:
    uuid = load_declaration("ci").uuid
    own = "marketplace/appliances/slm-copilot"
    names = {name for name in files_of(bundle) if not name.startswith("evidence/")}
    assert names == {
        "NOT-FOR-UPLOAD.txt", "RELEASE-NOTES.md", "SHA256SUMS", "slm-copilot-ci-0.1.0.cdx.json",
        "slm-copilot-ci-0.1.0.qcow2", "slm-copilot-ci-0.1.0.qcow2.md5", "slm-copilot-ci-0.1.0.qcow2.sha256",
        f"{own}/{uuid}.yaml", f"{own}/metadata.yaml", f"{own}/tests.yaml", f"{own}/context.yaml",
        f"{own}/README.md", f"{own}/CHANGELOG.md", f"{own}/appliance.sh",
        f"{own}/tests/00-slm-copilot_basic.rb", "marketplace/logos/slm-copilot.png",
    }  # fmt: skip
    assert not list(bundle.parent.glob(".making-*"))


def test_the_entry_tells_of_the_image(bundle: Path) -> None:
    listing = listing_of(bundle)
    assert listing["creation_time"] == int(BUILT.timestamp())
    assert listing["images"][0]["size"] == VIRTUAL_SIZE
    assert listing["opennebula_template"]["vcpu"] == "2"
    assert listing["opennebula_template"]["memory"] == "2048"
    text = next(bundle.glob("marketplace/appliances/slm-copilot/*-*.yaml")).read_text()
    assert "opennebula_version: '6.10, 7.0, 7.2'" in text


def test_the_notes_have_the_gate_and_what_was_measured_on_this_image(bundle: Path, answer: Answer) -> None:
    notes = (bundle / "RELEASE-NOTES.md").read_text()
    assert "| conformance, ci, selfsigned | PASS | 2026-02-01T10:00:00Z | qemu/tcg | 1/1 |" in notes
    assert "| decode_speed (path appliance) | 2.25 tok/s (2.1 to 2.4) | 5 |" in notes
    assert "| power_on_to_ready | 31.5 s |" in notes
    assert "| added_ttft | 2.1 ms | 5 | at most 5 ms | PASS |" in notes
    assert "not_shown" not in notes
    assert "Speeds measured under TCG" in notes
    assert answer.subject.sha256 in notes


def test_the_notes_tell_of_each_run_and_of_what_failed_without_being_asked_for(
    bundle: Path, answer: Answer, tmp_path: Path
) -> None:
    assert (
        "- Run of 2026-02-01T10:00:00Z: PASS, all 1 executed checks passed; AMD EPYC, 2 cores"
        in (bundle / "RELEASE-NOTES.md").read_text()
    )
    made = bundle_of(replace(answer, unasked=("ci-faults on nspawn/native failed",)), tmp_path / "release")
    notes = (made / "RELEASE-NOTES.md").read_text()
    assert "\n- Not asked for: ci-faults on nspawn/native failed\n" in notes
    assert "\n\n## Measured on this image\n" in notes


def test_everybody_may_read_a_bundle_whatever_the_umask(answer: Answer, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = bundle_of(answer, tmp_path / "release")
    finally:
        os.umask(before)
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (made, *made.rglob("*"))}
    assert modes == {(True, 0o755), (False, 0o644)}


@pytest.mark.parametrize(("verdict", "code"), [("FAIL", 1), ("INCONCLUSIVE", 3)])
def test_without_a_pass_nothing_is_written(verdict: Any, code: int, answer: Answer, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=f"no release without a PASS: the gate says {verdict}") as caught:
        bundle_of(replace(answer, verdict=verdict), tmp_path / "release")
    assert caught.value.exit_code == code
    assert not (tmp_path / "release").exists()


def broken_disk(_judged: Path, target: Path) -> Any:
    target.write_bytes(b"half an im")
    raise HarnessError("no space left")


def interrupted(_subject: Subject, _work: Path) -> Contents:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "sources",
    [Sources(lambda _s, _w: None, broken_disk), Sources(interrupted, broken_disk)],  # type: ignore[arg-type,return-value]
)
def test_a_bundle_that_fails_half_way_leaves_nothing(
    sources: Sources, answer: Answer, tmp_path: Path
) -> None:
    with pytest.raises((HarnessError, KeyboardInterrupt)):
        make_bundle(answer, tmp_path / "release", sources)
    assert list((tmp_path / "release").iterdir()) == []


def test_a_second_ctrl_c_waits_until_nothing_is_left(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left_behind(_subject: Subject, work: Path) -> Contents:
        (work / "half").write_text("")
        raise KeyboardInterrupt

    remove = shutil.rmtree

    def again(path: Path, **_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remove(path)

    monkeypatch.setattr(whole_folder.shutil, "rmtree", again)
    done = threading.Event()
    # somebody else who may be handed the signal, as the clock of a step that takes long is
    threading.Thread(target=done.wait, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        make_bundle(answer, tmp_path / "release", Sources(left_behind, broken_disk))
    done.set()
    assert list((tmp_path / "release").iterdir()) == []


def test_an_image_that_changes_on_the_way_gives_no_bundle(answer: Answer, tmp_path: Path) -> None:
    image = tmp_path / "judged.qcow2"
    shutil.copy(answer.subject.image.path, image)

    def replaced(judged: Path, target: Path) -> ReleasedImage:
        released = release_image(judged, target)
        with judged.open("ab") as file:
            file.write(b"more")
        return released

    told = replace(answer, subject=replace(answer.subject, image=replace(answer.subject.image, path=image)))
    sources = Sources(lambda _subject, _work: contents(), replaced)
    with pytest.raises(HarnessError, match="changed while the bundle was made of it"):
        make_bundle(told, tmp_path / "release", sources)
    assert list((tmp_path / "release").iterdir()) == []


def test_a_link_of_the_bundles_name_is_replaced_and_what_it_leads_to_stays(
    answer: Answer, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "note").write_text("of somebody else")
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / NAME).symlink_to(kept)
    (tmp_path / "release" / ".making-link").symlink_to(kept)
    made = bundle_of(answer, tmp_path / "release")
    assert not made.is_symlink()
    assert (kept / "note").read_text() == "of somebody else"
    assert [path.name for path in (tmp_path / "release").iterdir()] == [NAME]


def test_a_folder_that_cant_get_its_name_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "note").write_text("the old one")
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if target.name == "old" and not self.name.endswith("-replaced"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with (
        pytest.raises(HarnessError, match="the bundle can't be written: Input/output error"),
        whole_folder.whole_folder(tmp_path, "old") as work,
    ):
        (work / "note").write_text("the new one")
    assert files_of(tmp_path) == {"old/note": b"the old one"}


def test_a_bundle_that_breaks_a_rule_leaves_nothing_and_keeps_the_old_one(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "release" / NAME
    old.mkdir(parents=True)
    (old / "note").write_text("the old one")
    monkeypatch.setattr(make, "metadata_yaml", lambda _product: "---\n{}\n")
    with pytest.raises(HarnessError, match=r"breaks \d+ rules of the marketplace: metadata.yaml"):
        bundle_of(answer, tmp_path / "release")
    assert files_of(tmp_path / "release") == {f"{NAME}/note": b"the old one"}


def test_a_new_bundle_replaces_the_old_one_whole_and_sweeps_what_a_killed_run_left(
    answer: Answer, tmp_path: Path
) -> None:
    for name in (NAME, ".making-killed"):
        (tmp_path / "release" / name).mkdir(parents=True)
        (tmp_path / "release" / name / "note").write_text("old")
    made = bundle_of(answer, tmp_path / "release")
    assert not (made / "note").exists()
    assert [path.name for path in (tmp_path / "release").iterdir()] == [NAME]


def test_the_product_is_refused_while_an_address_stands_for_none(answer: Answer, tmp_path: Path) -> None:
    product = answer_for(answer.subject.image.path, tmp_path / "run", flavor="release", upload=True)
    with pytest.raises(HarnessError, match="publisher_email: is still the one that stands for none"):
        bundle_of(product, tmp_path / "release", one_context="7.2.1-0")


def test_the_product_is_for_upload_once_the_addresses_are_declared(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = replace(
        load_declaration("release"),
        publisher_email="people@example.org",
        image_url="https://images.example.org",
    )
    monkeypatch.setattr(make, "load_declaration", lambda _flavor: declared)
    product = answer_for(answer.subject.image.path, tmp_path / "run", flavor="release", upload=True)
    made = bundle_of(product, tmp_path / "release", one_context="7.2.1-0")
    assert made.name == "slm-copilot-0.1.0"
    listing = listing_of(made)
    assert listing["name"] == "SLM-Copilot"
    assert listing["one-apps_version"] == "7.2.1-0"
    assert listing["opennebula_template"]["vcpu"] == "16"
    assert listing["opennebula_template"]["memory"] == "32768"
    assert listing["images"][0]["url"] == "https://images.example.org/slm-copilot-0.1.0.qcow2"
    assert validate.problems_of(made, upload=True) == []


def test_an_image_that_doesnt_tell_when_it_was_built_is_refused(answer: Answer, tmp_path: Path) -> None:
    undated = replace(answer, subject=replace(answer.subject, built=None))
    with pytest.raises(HarnessError, match="doesn't tell when it was built"):
        bundle_of(undated, tmp_path / "release")


def test_a_flavor_that_nothing_is_declared_for_is_refused(answer: Answer, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="has nothing for flavor other"):
        bundle_of(as_flavor(answer, flavor="other"), tmp_path / "release")
