"""What a run says of itself: the commands that run it or a part of it again, and the machine it ran on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.test_image import (
    BENCH,
    IN_CONTAINER,
    ChosenAccelerator,
    TestImageRequest,
    cell_command,
    make_plan,
    run_command,
    where_it_runs,
)
from harness.image.build import Image
from harness.locations import REPOSITORY
from harness.matrix.choice import chosen_suites
from harness.matrix.plan import PlannedCell
from harness.matrix.suites import load_suites
from harness.results.rerun import rerun_check

IMAGE = Image(Path("/cache/slm.qcow2"), "ab" * 32)
BENCHED = TestImageRequest(
    profiles=("ci", "minimum"),
    tls_modes=("selfsigned",),
    suites=("benchmark",),
    jobs=1,
    target=BENCH,
)


def cells_of(request: TestImageRequest) -> list[PlannedCell]:
    suites = chosen_suites(request.suites, load_suites())
    return list(make_plan(request, suites, quick="nspawn").cells)


def variables_of(target: str) -> set[str]:
    """The make variables that a target's recipe reads."""
    recipe = re.search(rf"^{target}:.*?\n\n", (REPOSITORY / "Makefile").read_text(), re.M | re.S)
    assert recipe is not None
    return set(re.findall(r'"\$\$([A-Z_]+)"', recipe[0]))


def test_the_command_of_a_run_names_only_what_was_asked_for() -> None:
    assert run_command(TestImageRequest()) == "make test-image"
    request = TestImageRequest(machine="nspawn", profiles=("ci", "minimum"), selection="auth and post")
    assert (
        run_command(request) == "make test-image PROFILES='ci minimum' MACHINE=nspawn TESTS='auth and post'"
    )
    request = TestImageRequest(tls_modes=("custom",), suites=("conformance",), cells=("ci-custom",), jobs=2)
    assert run_command(request) == (
        "make test-image TLS_MODES=custom SUITES=conformance CELLS=ci-custom JOBS=2"
    )


def test_a_benchmark_is_run_again_by_make_bench() -> None:
    assert run_command(replace(BENCHED, profiles=("ci",))) == "make bench"
    asked = replace(BENCHED, machine="nspawn", selection="costs")
    assert run_command(asked) == "make bench PROFILES='ci minimum' MACHINE=nspawn TESTS=costs"


def test_a_cell_of_a_benchmark_is_its_profile() -> None:
    ci, minimum = cells_of(BENCHED)
    assert cell_command(BENCHED, IMAGE, ci) == "make bench IMAGE=/cache/slm.qcow2"
    again = cell_command(replace(BENCHED, selection="costs"), IMAGE, minimum)
    assert again == "make bench IMAGE=/cache/slm.qcow2 PROFILES=minimum"
    assert rerun_check(again, "suites/benchmark/test_costs.py::test_a").endswith(
        "PROFILES=minimum TESTS=suites/benchmark/test_costs.py::test_a"
    )


@pytest.mark.parametrize("target", ["test-image", BENCH])
def test_no_command_names_a_variable_that_its_target_does_not_read(target: str) -> None:
    everything = replace(
        BENCHED,
        image=IMAGE.path,
        flavor="release",
        tls_modes=("selfsigned", "custom"),
        machine="nspawn",
        accelerator="tcg",
        suites=("benchmark",),
        cells=("ci-benchmark",),
        jobs=2,
        selection="costs",
        target=target,
    )
    (cell, *_) = cells_of(everything)
    for command in (run_command(everything), cell_command(everything, IMAGE, cell)):
        assert command.startswith(f"make {target} ")
        assert set(re.findall(r" ([A-Z_]+)=", command)) <= variables_of(target), command


TCG = ChosenAccelerator("tcg", "no KVM here")


def test_a_run_in_containers_alone_says_so_whatever_was_asked_for() -> None:
    machine, accelerator = where_it_runs("qemu", TCG, {"nspawn"})
    assert (machine, accelerator.name) == ("nspawn", "native")
    assert accelerator.reason.endswith("; QEMU would be tcg: no KVM here")


@pytest.mark.parametrize("machines", [{"qemu"}, {"qemu", "nspawn"}, set()])
def test_a_run_with_a_virtual_machine_is_one_of_qemu(machines: set[str]) -> None:
    assert where_it_runs("qemu", TCG, machines) == ("qemu", TCG)


def test_a_container_that_was_asked_for_needs_no_reason() -> None:
    assert where_it_runs("nspawn", IN_CONTAINER, {"nspawn"}) == ("nspawn", IN_CONTAINER)
