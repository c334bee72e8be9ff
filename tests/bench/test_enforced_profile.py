"""What the guest says of its hardware, against its profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from harness.bench.enforced_profile import enforced_profile, parse_guest
from harness.errors import HarnessError
from harness.machine.limits_read_back import ReadBack
from harness.machine.nspawn import NspawnMachine
from harness.machine.protocol import Machine
from harness.profiles import Profile


def saying(output: str) -> Callable[..., SimpleNamespace]:
    def run(_command: str, **_options: float) -> SimpleNamespace:
        return SimpleNamespace(stdout=output)

    return run


PROFILE = Profile("ci", vcpus=2, ram_mib=2048, disk_gib=8)
CONTAINER = "cpus=2\nmemory_kib=24684096\nlimit=2147483648\nthreads=2\nthreads_batch=2\nengine_cpus=0-1\n"
VM = "cpus=2\nmemory_kib=2014208\nthreads=2\nthreads_batch=2\nengine_cpus=0-1\n"


def test_a_guest_with_its_profiles_hardware_leaves_no_doubt() -> None:
    found = parse_guest(CONTAINER, PROFILE, contained=True)
    assert found.doubts == ()
    assert found.conditions == {
        "guest_cpus": 2,
        "guest_memory_mib": 2048,
        "engine_threads": 2,
        "engine_threads_batch": 2,
        "engine_cpus": "0-1",
    }
    in_vm = parse_guest(VM, PROFILE, contained=False)
    assert (in_vm.conditions["guest_memory_mib"], in_vm.doubts) == (1967, ())


@pytest.mark.parametrize(
    ("old", "new", "doubt"),
    [
        ("cpus=2", "cpus=4", "the guest sees 4 CPUs, it was given 2"),
        ("limit=2147483648", "limit=max", "the guest sees 24105 MiB of memory, it was given 2048"),
        ("limit=2147483648", "limit=1073741824", "the guest sees 1024 MiB of memory"),
        ("threads_batch=2", "threads_batch=8", "the engine runs 8 threads on 2 CPUs"),
        ("threads=2\nthreads_batch=2", "threads=\nthreads_batch=", "with how many threads the engine runs"),
    ],
)
def test_a_guest_that_sees_something_else_is_a_doubt(old: str, new: str, doubt: str) -> None:
    (found,) = parse_guest(CONTAINER.replace(old, new, 1), PROFILE, contained=True).doubts
    assert found.startswith(doubt)


def test_a_virtual_machine_short_of_memory_is_a_doubt() -> None:
    (found,) = parse_guest(VM.replace("2014208", "1500000"), PROFILE, contained=False).doubts
    assert found == "the guest sees 1464 MiB of memory, it was given 2048"


def test_a_guest_that_says_nothing_is_one_line() -> None:
    with pytest.raises(HarnessError, match="doesn't tell how many CPUs"):
        parse_guest("cpus=\n", PROFILE, contained=False)


def container_with(monkeypatch: pytest.MonkeyPatch, host: ReadBack) -> NspawnMachine:
    container = NspawnMachine.__new__(NspawnMachine)
    monkeypatch.setattr(container, "limits_read_back", lambda: host, raising=False)
    monkeypatch.setattr(container, "run", saying(CONTAINER), raising=False)
    return container


def test_a_container_is_called_one_and_both_views_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    container = container_with(monkeypatch, ReadBack({"container_cpus": "0-1"}, ("a quota",)))
    found = enforced_profile(container, PROFILE)
    assert found.conditions["machine"] == "container, not VM"
    assert (found.conditions["container_cpus"], found.conditions["guest_cpus"]) == ("0-1", 2)
    assert found.doubts == ("a quota",)


def test_a_guest_is_held_against_what_a_small_host_could_give(monkeypatch: pytest.MonkeyPatch) -> None:
    minimum = Profile("minimum", vcpus=8, ram_mib=24576, disk_gib=40)
    lacks = ("profile minimum has 8 CPUs, the container gets the host's 2",)
    found = enforced_profile(
        container_with(monkeypatch, ReadBack(lacks=lacks, given=replace(minimum, vcpus=2, ram_mib=2048))),
        minimum,
    )
    assert (found.doubts, found.lacks) == ((), lacks)
    found = enforced_profile(
        container_with(monkeypatch, ReadBack(given=replace(minimum, ram_mib=2048))), minimum
    )
    assert found.doubts == ("the guest sees 2 CPUs, it was given 8",)


def test_a_virtual_machine_is_called_one() -> None:
    machine = cast(Machine, SimpleNamespace(run=saying(VM)))
    found = enforced_profile(machine, PROFILE)
    assert (found.conditions["machine"], found.doubts) == ("virtual machine", ())
