"""An invented image, its runs and rules, for the tests of the gate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.gate.rules import CellRule, FlavorRules, MetricRule
from harness.gate.subject import Part, Subject
from harness.image.build import Image
from harness.results.junit import junit_xml
from harness.results.model import (
    Cell,
    CellTimings,
    Check,
    CheckStatus,
    Counts,
    HostFacts,
    ImageFacts,
    Metric,
    Results,
    RunTimings,
    SuiteCounts,
    Verdict,
    write_results,
)
from harness.results.publish import RESULTS_FILE
from harness.results.seal import JUNIT_FILE, sealed
from harness.results.verdict import judge_run

NOW = datetime(2026, 2, 10, 12, 0, tzinfo=UTC)
IMAGE = Image(
    path=Path("/cache/slm-copilot-ci.qcow2"),
    sha256="5f" * 32,
    flavor="ci",
    base="debian-12",
    engine="llama-server",
    engine_version="0.5",
    model="smollm2",
)
PART = Part(
    "model-x", "1", "x.gguf", hashlib.sha256(b"x").hexdigest(), "MIT", "a model", "pypi:x==1", "model"
)
SUBJECT = Subject(
    image=IMAGE, version="0.1.0", built=NOW - timedelta(days=20), parts=(PART,), virtual_size=2**31
)
RULES = FlavorRules(
    flavor="ci",
    upload=False,
    engines=("llama-server",),
    oldest_days=7,
    passes_after_a_fail=2,
    clean_commit=True,
    cells=(
        CellRule("auth", "whole", "ci", "selfsigned", ("qemu/kvm", "qemu/tcg"), 3, frozenset({"test_b.py"})),
        CellRule("auth", "later_modes", "ci", "custom", ("qemu/kvm", "qemu/tcg"), 2),
        CellRule("boots", "whole", "ci", "selfsigned", ("qemu/tcg", "nspawn/native"), 1),
    ),
    metrics=(
        MetricRule("ready", "auth", "ci", ("PASS", "MEASURED")),
        MetricRule("decode", "boots", "ci", ("PASS",), {"path": "appliance"}),
    ),
)

READY = Metric("ready", "s", 31.0)
DECODE = Metric("decode", "tok/s", 3.5, target=3.0, verdict="PASS", labels={"path": "appliance"}, n=5)


def checks(suite: str, names: Sequence[str], status: CheckStatus = "passed") -> tuple[Check, ...]:
    """One check a name, `b` standing in the suite's test_b.py."""
    return tuple(
        Check(
            f"suites/{suite}/test_{name}.py::{status}_{n}",
            f"suites/{suite}/test_{name}.py",
            name,
            status,
            1.0,
        )
        for n, name in enumerate(names)
    )


def cell(
    suite: str,
    tls_mode: str,
    *,
    ran: Sequence[str] = ("a", "b", "b"),
    broken: Sequence[str] = (),
    skipped: Sequence[str] = (),
    machine: str = "qemu",
    accelerator: str = "tcg",
    verdict: Verdict | None = None,
    metrics: tuple[Metric, ...] = (),
    files: tuple[str, ...] = (),
) -> Cell:
    """A cell with one suite whose counts are those of its checks."""
    told = checks(suite, ran) + checks(suite, broken, "failed") + checks(suite, skipped, "skipped")
    counts = Counts(passed=len(ran), failed=len(broken), skipped=len(skipped))
    return Cell(
        name=f"ci-{suite}-{tls_mode}",
        profile="ci",
        tls_mode=tls_mode,
        machine=machine,
        accelerator=accelerator,
        verdict=verdict or ("FAIL" if broken else "PASS"),
        reason=f"{len(broken)} checks failed" if broken else "all executed checks passed",
        fault="",
        interrupted=False,
        tests=counts,
        timings=CellTimings(ready_s=31.0),
        metrics=metrics,
        checks=told,
        guest={"SLM_FLAVOR": "ci"},
        rerun="make test-image",
        evidence=f"cells/{suite}-{tls_mode}",
        files=files,
        suites=(SuiteCounts(suite, counts, 3.0, 1),),
    )


WHOLE = cell("auth", "selfsigned", metrics=(READY,))
LATER = cell("auth", "custom", ran=("a", "a"))
BOOTS = cell("boots", "selfsigned", machine="nspawn", accelerator="native", metrics=(DECODE,))


def results(*cells: Cell, days_ago: float = 1.0, **changed: object) -> Results:
    """A run of these cells of IMAGE."""
    run = Results(
        verdict=judge_run(cells).verdict,
        reason="all executed checks passed",
        fault="",
        interrupted=False,
        image=ImageFacts(
            path=str(IMAGE.path),
            sha256=IMAGE.sha256,
            flavor=IMAGE.flavor,
            base=IMAGE.base,
            engine=IMAGE.engine,
            engine_version=IMAGE.engine_version,
            model=IMAGE.model,
        ),
        host=HostFacts("AMD EPYC", 2, 24576, "6.1", "tcg", "no /dev/kvm", "qemu"),
        cells=cells,
        suites=("auth", "boots"),
        selection="",
        started=(NOW - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_s=60.0,
        timings=RunTimings(1.0, 59.0),
        commit="ab" * 20,
        command="make test-image",
    )
    return replace(run, **changed)  # type: ignore[arg-type]


def written(root: Path, run: Results, name: str = "run") -> Path:
    """The run's folder as `slm test-image` leaves it; the path of its results.json."""
    folder = root / name
    for one in run.cells:
        for file in one.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(f"the content of {file}\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JUNIT_FILE).write_text(junit_xml(run))
    write_results(sealed(run, folder, junit_xml(run)), folder / RESULTS_FILE)
    return folder / RESULTS_FILE
