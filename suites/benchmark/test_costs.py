"""What the appliance takes for itself: time to boot, idle processors, memory, disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from harness.bench.boot_phases import AGREEMENT, PHASES, BootPhases, boot_phases
from harness.bench.footprint import Idle, ProcessMemory, idle, image_size, process_memory
from harness.bench.load import at_once
from harness.bench.prompts import calibrate, chat_body, count_by
from harness.bench.verdict import doubts_of_ratio
from harness.cell.options import CellOptions
from harness.cell.own_guests import OpenGuest, ReadyDeadline
from harness.machine.protocol import Machine
from suites.benchmark.plan import BenchPlan
from suites.benchmark.recording import MEASURED_ONLY, Recorder
from suites.benchmark.requests import TIMEOUT_S, Prompts, Way

LOOKS_EVERY_S = 0.2
"""How late the host may notice that a guest is ready."""

BOOTS = {"tcg": 1}
"""Of an emulated guest one boot has to do, for its times can't be judged. Else there is one a round."""


@dataclass(frozen=True)
class Memory:
    """The processes while nobody asks, and after clients asked at once."""

    at_rest: tuple[ProcessMemory, ...]
    under_load: tuple[ProcessMemory, ...]


@pytest.fixture(scope="module")
def at_rest(machine: Machine) -> Idle:
    return idle(machine)


@pytest.fixture(scope="module")
def memory(machine: Machine, ways: tuple[Way, Way], plan: BenchPlan) -> Memory:
    before = process_memory(machine)
    way = ways[0]
    prompts = Prompts(
        calibrate(count_by(way.target, model=way.model, timeout_s=600), seed=plan.seed), plan.seed + 9
    )
    clients = max(plan.clients)
    asked = [prompts.cold(plan.client_prompt_tokens) for _ in range(clients)]
    bodies = [[chat_body(one.messages, model=way.model, max_tokens=plan.answer_tokens)] for one in asked]
    load = at_once(way.target, bodies, timeout_s=TIMEOUT_S)
    assert not load.failures, load.failures
    return Memory(before, process_memory(machine))


@pytest.fixture(scope="module")
def boots(
    machine: Machine, open_guest: OpenGuest, ready_deadline: ReadyDeadline, plan: BenchPlan
) -> list[BootPhases]:
    """First boots of new guests, one after the other."""
    return list(_boots(BOOTS.get(machine.accelerator, plan.rounds), open_guest, ready_deadline))


def _boots(count: int, open_guest: OpenGuest, ready_deadline: ReadyDeadline) -> Iterator[BootPhases]:
    for _ in range(count):
        with open_guest() as guest:
            guest.start()
            yield boot_phases(guest, guest.wait_ready(ready_deadline()))


def test_the_phases_of_a_boot_add_up(boots: list[BootPhases], ratios: Recorder) -> None:
    for name in PHASES:
        seconds = [one for boot in boots if (one := boot.seconds[name]) is not None]
        if seconds:
            ratios.median(
                "boot_phase", "s", seconds, labels={"phase": name}, better="lower", formula=PHASES[name]
            )
    ratios.median(
        "boot_phase", "s", [boot.total_s for boot in boots], labels={"phase": "total"}, better="lower",
        formula="power-on to ready",
    )  # fmt: skip
    off = [f"{boot.sum_s:.2f} s of {boot.total_s:.2f} s" for boot in boots
           if abs(boot.sum_s - boot.total_s) > max(AGREEMENT * boot.total_s, LOOKS_EVERY_S)]  # fmt: skip
    assert not off, f"phases that don't add up: {off}"


def test_it_is_calm_when_nobody_asks(
    at_rest: Idle, machine: Machine, record_metric: Callable[..., None]
) -> None:
    emulated = doubts_of_ratio(machine.accelerator)
    reason = "; ".join((MEASURED_ONLY, *emulated, *at_rest.doubts))
    measured = {"n": 1, "verdict": "INCONCLUSIVE", "reason": reason, "better": "lower"}
    record_metric(
        "idle_cpu", "cores", at_rest.cores, formula=f"cores used over {at_rest.seconds:.0f} s", **measured
    )
    record_metric(
        "idle_ram", "MiB", at_rest.ram_mib, formula="memory in use that can't be dropped", **measured
    )
    # Emulated, what little the guest does at rest takes much of its CPUs.
    assert emulated or not at_rest.doubts, at_rest.doubts


@pytest.mark.parametrize("state", ["at_rest", "under_load"])
def test_the_memory_of_its_processes_is_recorded(
    state: str, memory: Memory, record_metric: Callable[..., None]
) -> None:
    found: tuple[ProcessMemory, ...] = getattr(memory, state)
    for process in found:
        for name, value in (
            ("rss", process.rss_mib),
            ("pss", process.pss_mib),
            ("peak_rss", process.peak_mib),
        ):
            record_metric(
                name, "MiB", value, n=1, verdict="INCONCLUSIVE", reason=MEASURED_ONLY, better="lower",
                labels={"process": process.name, "state": state.replace("_", " ")},
                formula="of all processes of that name together",
            )  # fmt: skip
    assert {process.name for process in found} >= {"engine", "nginx-worker"}, found


def test_the_image_is_recorded_with_its_sizes(cell: CellOptions, record_metric: Callable[..., None]) -> None:
    size = image_size(cell.image)
    forms = {"virtual": size.virtual_mib, "file": size.file_mib, "compressed": size.compressed_mib}
    for form, value in forms.items():
        if value is not None:
            record_metric(
                "image_size", "MiB", value, n=1, verdict="INCONCLUSIVE", reason=MEASURED_ONLY, better="lower",
                labels={"form": form}, formula="zstd, estimated from samples" if size.sampled else "",
            )  # fmt: skip
    assert size.compressed_mib is not None, "compressing it took too long to say its size"
