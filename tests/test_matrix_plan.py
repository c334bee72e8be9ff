"""Which cells a run has, on which machine, and what each of them runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.matrix.plan import Plan, pick_cells, plan_cells
from harness.matrix.quick_machine import choose_quick
from harness.matrix.suites import Share, Suite

ALL_MODES = ("selfsigned", "custom", "letsencrypt")
TOPICS = Share(minimum=40, seconds=50, checks=("test_certificate.py", "test_sse.py::test_one"))

CONFORMANCE = Suite("conformance", Path("/s/conformance"), whole=Share(120, 300), later_modes=TOPICS)
LETSENCRYPT = Suite("letsencrypt", Path("/s/letsencrypt"), tls_modes=("letsencrypt",), whole=Share(5, 60))
LIFECYCLE = Suite(
    "lifecycle",
    Path("/s/lifecycle"),
    cell="own",
    tls_modes=("selfsigned",),
    machine="both",
    whole=Share(20, 60),
    on_vm=Share(2, 160),
)
HOSTILE = Suite("hostile", Path("/s/hostile"), cell="own", tls_modes=("selfsigned",), machine="quick")
POWERCUT = Suite("powercut", Path("/s/powercut"), cell="own", tls_modes=("selfsigned",))
ALL = (CONFORMANCE, LETSENCRYPT, LIFECYCLE, HOSTILE, POWERCUT)


def plan(
    suites: Sequence[Suite] = ALL,
    *,
    profiles: Sequence[str] = ("ci",),
    tls_modes: Sequence[str] = ALL_MODES,
    asked: str = "qemu",
    quick: str = "nspawn",
    named: bool = False,
) -> Plan:
    return plan_cells(profiles, tls_modes, suites, asked=asked, quick=quick, suites_named=named)


def machines(a_plan: Plan) -> dict[str, str]:
    return {cell.name: cell.machine for cell in a_plan.cells}


def test_the_whole_matrix_where_qemu_is_slow() -> None:
    assert machines(plan()) == {
        "ci-selfsigned": "qemu",
        "ci-custom": "qemu",
        "ci-letsencrypt": "qemu",
        "ci-lifecycle": "nspawn",
        "ci-lifecycle-vm": "qemu",
        "ci-hostile": "nspawn",
        "ci-powercut": "qemu",
    }


def test_where_qemu_is_fast_nothing_runs_twice() -> None:
    fast = machines(plan(quick="qemu"))
    assert "ci-lifecycle-vm" not in fast
    assert set(fast.values()) == {"qemu"}


def test_everything_runs_in_a_container_when_that_is_asked_for() -> None:
    asked = machines(plan(asked="nspawn"))
    assert "ci-lifecycle-vm" not in asked
    assert set(asked.values()) == {"nspawn"}


def test_the_first_tls_mode_has_a_suite_whole_and_the_others_what_tls_can_touch() -> None:
    first, second, third = plan(tls_modes=("custom", "letsencrypt", "selfsigned")).cells[:3]
    assert (first.name, first.suites[0].targets) == ("ci-custom", ("/s/conformance",))
    topics = ("/s/conformance/test_certificate.py", "/s/conformance/test_sse.py::test_one")
    assert (third.name, third.suites[0].targets) == ("ci-selfsigned", topics)
    assert [one.suite.name for one in second.suites] == ["conformance", "letsencrypt"]
    assert second.suites[1].targets == ("/s/letsencrypt",)
    assert second.seconds == 110


def test_a_suite_that_waits_for_its_mode_has_it_whole_there() -> None:
    two_modes = Suite("x", Path("/s/x"), tls_modes=("custom", "letsencrypt"), later_modes=TOPICS)
    shares = [cell.suites[0].share for cell in plan([two_modes]).cells]
    assert shares == [two_modes.whole, TOPICS]


def test_only_marked_checks_run_in_the_second_cell_of_a_suite() -> None:
    cells = {cell.name: cell for cell in plan([LIFECYCLE]).cells}
    assert cells["ci-lifecycle-vm"].vm_only
    assert cells["ci-lifecycle-vm"].suites[0].share == Share(2, 160)
    assert not cells["ci-lifecycle"].vm_only


def test_each_profile_has_its_own_cells() -> None:
    names = [cell.name for cell in plan([CONFORMANCE, POWERCUT], profiles=("ci", "minimum")).cells]
    assert names == [
        *("ci-selfsigned", "ci-custom", "ci-letsencrypt", "ci-powercut"),
        *("minimum-selfsigned", "minimum-custom", "minimum-letsencrypt", "minimum-powercut"),
    ]


def test_names_stay_apart_when_a_suite_has_a_cell_in_several_modes() -> None:
    twice = Suite("x", Path("/s/x"), cell="own", tls_modes=("selfsigned", "custom"))
    assert [cell.name for cell in plan([twice]).cells] == ["ci-x-selfsigned", "ci-x-custom"]


def test_what_a_run_leaves_out_is_said() -> None:
    some = plan(tls_modes=("custom",))
    assert list(machines(some)) == ["ci-custom"]
    assert "left out: letsencrypt runs in TLS mode letsencrypt only" in some.notes
    assert "left out: powercut runs in TLS mode selfsigned only" in some.notes


def test_a_suite_that_was_named_is_not_left_out() -> None:
    with pytest.raises(HarnessError, match="no cell for powercut in TLS mode custom") as caught:
        plan([CONFORMANCE, POWERCUT], tls_modes=("custom",), named=True)
    assert caught.value.hint == "powercut runs in TLS mode selfsigned only"


def test_two_cells_of_one_name_are_refused() -> None:
    clash = Suite("selfsigned", Path("/s/selfsigned"), cell="own", tls_modes=("selfsigned",))
    with pytest.raises(HarnessError, match="two cells would be called ci-selfsigned"):
        plan([CONFORMANCE, clash])


def test_picking_cells_changes_nothing_in_them() -> None:
    whole = plan()
    picked = pick_cells(whole, ["ci-lifecycle-vm", "ci-custom"])
    assert [cell.name for cell in picked.cells] == ["ci-custom", "ci-lifecycle-vm"]
    assert picked.cells[0] == whole.cells[1]
    assert pick_cells(whole, []) == whole


def test_an_unknown_cell_is_told_with_those_there_are() -> None:
    with pytest.raises(HarnessError, match="no cell ci-nonsense in this run") as caught:
        pick_cells(plan([CONFORMANCE]), ["ci-custom", "ci-nonsense"])
    assert caught.value.hint == "it has: ci-selfsigned, ci-custom, ci-letsencrypt"


@pytest.mark.parametrize(
    ("asked", "accelerator", "refusal", "name", "told"),
    [
        ("qemu", "kvm", "", "qemu", ""),
        ("nspawn", "native", "", "nspawn", ""),
        ("qemu", "tcg", "", "nspawn", "suites that need no virtual machine run in a container"),
        ("qemu", "tcg", "the nspawn machine needs root", "qemu", "slowly: the nspawn machine needs root"),
    ],
)
def test_the_quick_machine(asked: str, accelerator: str, refusal: str, name: str, told: str) -> None:
    chosen = choose_quick(asked, accelerator, containers_refused=lambda: refusal)
    assert chosen.name == name
    assert told in chosen.reason
    assert bool(told) == bool(chosen.reason)


def test_a_cell_keeps_as_many_cores_busy_as_its_hungriest_suite_but_no_more_than_it_has() -> None:
    light = replace(LETSENCRYPT, whole=Share(5, 60, cores=1))
    cells = {cell.name: cell for cell in plan((CONFORMANCE, light, HOSTILE, light_powercut())).cells}
    assert cells["ci-letsencrypt"].cores(2) == 2, "TOPICS don't say how many: all"
    assert cells["ci-powercut"].cores(2) == 1
    assert cells["ci-powercut"].cores(1) == 1
    assert cells["ci-hostile"].cores(8) == 8


def light_powercut() -> Suite:
    return replace(POWERCUT, whole=Share(5, 60, cores=1))
