"""Results of invented runs, for the tests of everything that is drawn from results."""

from dataclasses import replace

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
)

IMAGE = ImageFacts(
    path="/var/cache/slm/images/0123456789ab/slm-copilot-ci.qcow2",
    sha256="5f" * 32,
    flavor="ci",
    engine="llama-server",
    engine_version="0.3.36",
    model="smollm2-135m-instruct",
)

HOST = HostFacts(
    cpu="AMD EPYC 9B14",
    cores=2,
    ram_mib=24576,
    kernel="6.1.0-18-amd64",
    accelerator="tcg",
    accelerator_reason="/dev/kvm opens, but a probe guest printed nothing within 8 s",
    machine="qemu",
)

CHECKS = (
    Check(
        id="suites/conformance/test_auth.py::test_one",
        file="suites/conformance/test_auth.py",
        title="no password is 401 [POST /v1/chat/completions]",
        status="passed",
        seconds=0.41,
    ),
    Check(
        id="suites/conformance/test_auth.py::test_two[a|b]",
        file="suites/conformance/test_auth.py",
        title="a wrong password is refused on every route [GET /v1/models]",
        status="failed",
        seconds=0.38,
        message="AssertionError: 200 for GET /v1/models with a wrong password\nassert 200 == 401",
        details=">       assert answer.status == 401\nE       assert 200 == 401\n<script>alert(1)</script>",
    ),
    Check(
        id="suites/conformance/test_stream.py::test_slow",
        file="suites/conformance/test_stream.py",
        title="a prompt that is read for longer than 60 s gets headers within 1 s and a byte every 15 s",
        status="passed",
        seconds=74.2,
    ),
    Check(
        id="suites/conformance/test_stream.py::test_skip",
        file="suites/conformance/test_stream.py",
        title="Node's own fetch survives a slow prefill",
        status="skipped",
        seconds=0.0,
        message="node is not installed on this host",
    ),
    Check(
        id="harness::nothing_secret",
        file="harness",
        title="nothing secret in any file the harness writes",
        status="passed",
        seconds=0.02,
    ),
)

CELL = Cell(
    name="ci-selfsigned",
    profile="ci",
    tls_mode="selfsigned",
    machine="qemu",
    accelerator="tcg",
    verdict="FAIL",
    reason="1 of 4 executed checks failed",
    fault="",
    interrupted=False,
    tests=Counts(passed=3, failed=1, skipped=1, errors=0),
    timings=CellTimings(boot_s=21.4, configure_s=6.2, ready_s=38.9, suite_s=231.0),
    metrics=(
        Metric("decode", "tok/s", 1.85, 1.79, 1.9, 5, None, None),
        Metric("power-on to ready", "s", 38.9, None, None, 1, 60.0, "PASS"),
        Metric(
            "ttft",
            "s",
            0.21,
            0.2,
            0.4,
            5,
            labels={"path": "appliance", "prompt_tokens": 128},
            samples=(0.21, 0.2, 0.21, 0.4, 0.22),
            outliers=(3,),
            better="lower",
            formula="first content event - last byte sent",
        ),
    ),
    checks=CHECKS,
    guest={"SLM_FLAVOR": "ci", "SLM_ENGINE": "llama-server"},
    rerun=f"make test-image IMAGE={IMAGE.path} PROFILES=ci TLS_MODES=selfsigned MACHINE=qemu",
    evidence="cells/ci-selfsigned",
    files=(
        "cells/ci-selfsigned/cell.json",
        "cells/ci-selfsigned/console.log",
        "cells/ci-selfsigned/journal.txt",
        "cells/ci-selfsigned/pytest.log",
    ),
    suites=(SuiteCounts("conformance", Counts(passed=2, failed=1, skipped=1), 75.0, 120),),
    conditions={"cpu": "AMD EPYC 9554", "steal_percent": 0.3, "cores": 2},
)

RESULTS = Results(
    verdict="FAIL",
    reason="1 of 4 executed checks failed",
    fault="",
    interrupted=False,
    image=IMAGE,
    host=HOST,
    cells=(CELL,),
    suites=("conformance",),
    selection="",
    started="2026-01-31T09:45:00Z",
    wall_s=312.5,
    timings=RunTimings(image_s=21.0, cells_s=291.5),
    commit="ab" * 20,
    command="make test-image",
)


def cell(name: str, machine: str, suites: tuple[SuiteCounts, ...], tls_mode: str = "selfsigned") -> Cell:
    """A cell of the matrix without checks of its own, passed where all its suites have."""
    passed = all(not one.tests.failed and one.tests.executed >= one.required for one in suites)
    total = Counts(
        passed=sum(one.tests.passed for one in suites) + 1, skipped=sum(one.tests.skipped for one in suites)
    )
    return replace(
        CELL,
        name=name,
        tls_mode=tls_mode,
        machine=machine,
        accelerator="tcg" if machine == "qemu" else "native",
        verdict="PASS" if passed else "INCONCLUSIVE",
        reason="all executed checks passed" if passed else "only 2 checks of suite faults were executed",
        tests=total,
        timings=CellTimings(boot_s=20.1, ready_s=41.7, suite_s=sum(one.seconds for one in suites)),
        metrics=(),
        checks=(),
        rerun=f"make test-image IMAGE={IMAGE.path} CELLS={name}",
        evidence=f"cells/{name}",
        files=(f"cells/{name}/console.log",),
        suites=suites,
    )


MATRIX = replace(
    RESULTS,
    reason="1 of 8 cells failed: ci-selfsigned",
    suites=("conformance", "letsencrypt", "lifecycle", "faults", "powercut"),
    cells=(
        CELL,
        cell("ci-custom", "qemu", (SuiteCounts("conformance", Counts(passed=310), 52.0, 120),), "custom"),
        cell(
            "ci-letsencrypt",
            "qemu",
            (
                SuiteCounts("conformance", Counts(passed=311, skipped=2), 51.0, 120),
                SuiteCounts("letsencrypt", Counts(passed=24), 60.5, 20),
            ),
            "letsencrypt",
        ),
        cell("ci-lifecycle", "nspawn", (SuiteCounts("lifecycle", Counts(passed=40), 58.0, 30),)),
        cell("ci-lifecycle-vm", "qemu", (SuiteCounts("lifecycle", Counts(passed=4), 161.0, 3),)),
        cell("ci-faults", "nspawn", (SuiteCounts("faults", Counts(passed=2, skipped=1), 9.0, 10),)),
        cell("ci-powercut", "qemu", (SuiteCounts("powercut", Counts(passed=21), 148.0, 20),)),
        cell("recommended-letsencrypt", "qemu", (SuiteCounts("letsencrypt", Counts(passed=24), 60.5, 20),)),
    ),
)
"""A run of the whole matrix: several suites, machines and verdicts."""
