"""A tiny image with its papers and a passed gate, and bundles made of it: all real but the disk's size."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.bundle.debian_packages import DebianPackage
from harness.bundle.disk import release_image
from harness.bundle.make import Sources, make_bundle
from harness.bundle.product import Contents
from harness.gate.evidence import Run
from harness.gate.judge import Answer, Counted, Row
from harness.gate.rules import CellRule, FlavorRules
from harness.gate.subject import Part, Subject
from harness.image.build import Image
from harness.results.junit import junit_xml
from harness.results.model import (
    Cell,
    CellTimings,
    Check,
    Counts,
    HostFacts,
    ImageFacts,
    Metric,
    Results,
    RunTimings,
    SuiteCounts,
    read_results,
    write_results,
)
from harness.results.publish import RESULTS_FILE
from harness.results.seal import JUNIT_FILE, sealed

BUILT = datetime(2026, 1, 31, 9, 45, tzinfo=UTC)
VIRTUAL_SIZE = 4 * 1024 * 1024
MODEL_SHA256 = hashlib.sha256(b"weights").hexdigest()
PARTS = (
    Part("engine-source", "0.3", "engine.tar.gz", "ab" * 32, "MIT", "sources", "pypi:engine==0.3", "engine"),
    Part("model-tiny", "1", "tiny.gguf", MODEL_SHA256, "Apache-2.0", "a model", "https://e.org/t", "model"),
)
PACKAGES = (
    DebianPackage("bash", "5.2", "amd64", "bash", ("GPL-3+",), "machine-readable"),
    DebianPackage("nginx", "1.22.1", "amd64", "nginx", ("BSD-2-clause", "Odd"), "machine-readable"),
    DebianPackage("python3", "3.11", "amd64", "python3"),
)
CHECKED = "suites/conformance/test_a.py"
RULE = CellRule("conformance", "whole", "ci", "selfsigned", ("qemu/tcg",), 1)


def make_image(folder: Path) -> Path:
    """A qcow2 of some megabytes with something in it."""
    raw, image = folder / "disk.raw", folder / "slm-copilot.qcow2"
    raw.write_bytes((b"a disk" * 50_000).ljust(VIRTUAL_SIZE, b"\0"))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True, timeout=30)
    return image


def contents(*, one_context: str = "") -> Contents:
    """What the image would tell of itself."""
    extra = (DebianPackage("one-context", one_context, "all", "one-context"),) if one_context else ()
    return Contents(
        os_id="debian",
        os_name="Debian",
        os_version="12",
        packages=(*PACKAGES, *extra),
        model_name="Tiny",
        model_licence="Apache-2.0",
        model_sha256=MODEL_SHA256,
    )


def answer_for(image: Path, folder: Path, *, flavor: str = "ci", upload: bool = False) -> Answer:
    """A PASS of the gate, its one run on disk."""
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    told = Image(
        path=image,
        sha256=sha256,
        flavor=flavor,
        base="debian-12",
        engine="llama-server",
        engine_version="0.5",
        model="tiny",
    )
    subject = Subject(told, "0.1.0", "tiny.gguf", VIRTUAL_SIZE, BUILT, PARTS)
    rules = FlavorRules(flavor, upload, ("llama-server",), 7, 2, False, (RULE,), ())
    run = _run(told, folder)
    row = Row(RULE.title, "PASS", "all 1 executed checks passed", run.results.started, "qemu/tcg", 1, 1)
    counted = Counted(RULE, run, run.results.cells[0])
    return Answer("PASS", subject, rules, (row,), (), counted=(counted,), believed=(run,))


def bundle_of(answer: Answer, output: Path, *, one_context: str = "") -> Path:
    """The bundle, with a real image."""
    told = contents(one_context=one_context)
    return make_bundle(answer, output, Sources(lambda _subject, _work: told, release_image))


def _run(image: Image, folder: Path) -> Run:
    facts = ImageFacts(
        path=str(image.path),
        sha256=image.sha256,
        flavor=image.flavor,
        engine=image.engine,
        engine_version=image.engine_version,
        model=image.model,
        base=image.base,
    )
    counts = Counts(passed=1)
    cell = Cell(
        name="ci-selfsigned", profile="ci", tls_mode="selfsigned", machine="qemu", accelerator="tcg",
        verdict="PASS", reason="all 1 executed checks passed", fault="", interrupted=False, tests=counts,
        timings=CellTimings(ready_s=30.0),
        metrics=(
            Metric("decode_speed", "tok/s", 2.25, 2.1, 2.4, 5, labels={"path": "appliance"}),
            Metric("power_on_to_ready", "s", 31.5),
            Metric("added_ttft", "s", 0.0021, n=5, target=0.005, verdict="PASS", better="lower"),
            Metric("not_shown", "s", 1.0),
        ),
        checks=(Check(f"{CHECKED}::t", CHECKED, "t", "passed", 1.0),),
        guest={}, rerun="make test-image", evidence="cells/ci-selfsigned", files=(),
        suites=(SuiteCounts("conformance", counts, 1.0, 1),),
    )  # fmt: skip
    results = Results(
        verdict="PASS", reason="all 1 executed checks passed", fault="", interrupted=False, image=facts,
        host=HostFacts("AMD EPYC", 2, 24576, "6.1", "tcg", "no /dev/kvm", "qemu"), cells=(cell,),
        suites=("conformance",), selection="", started="2026-02-01T10:00:00Z", wall_s=60.0,
        timings=RunTimings(1.0, 59.0), commit="ab" * 20, command="make test-image",
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    junit = junit_xml(results)
    (folder / JUNIT_FILE).write_text(junit)
    path = folder / RESULTS_FILE
    write_results(sealed(results, folder, junit), path)
    return Run(path, read_results(path))


def as_flavor(answer: Answer, **changed: object) -> Answer:
    """The same answer for an image of other papers."""
    image = replace(answer.subject.image, **changed)  # type: ignore[arg-type]
    return replace(answer, subject=replace(answer.subject, image=image))
