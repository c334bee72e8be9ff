"""`slm test-image`: the image, the accelerator, every cell, the results, the verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import terminal
from harness.cell.leaks import CHECK_ID as OWN_CHECK
from harness.cell.options import TLS_MODES
from harness.cli.run_cell import CellPlan
from harness.cli.run_cells import run_cells
from harness.cli.selection import Selection, select
from harness.errors import HarnessError
from harness.matrix.choice import ALL, chosen_suites, not_by_default
from harness.matrix.plan import Plan, PlannedCell, pick_cells, plan_cells
from harness.matrix.quick_machine import QuickMachine, choose_quick
from harness.matrix.room import Room, available_mib
from harness.matrix.suites import Suite, load_suites
from harness.profiles import find_profile
from harness.results import host
from harness.results.folder import new_run_folder, reports_root
from harness.results.measured_text import measured_lines, speeds_table
from harness.results.model import Cell, HostFacts, ImageFacts, Results, RunTimings
from harness.results.publish import Published, publish
from harness.results.rerun import make_command
from harness.results.summary import VERDICT_STYLE, failure_lines, summary_table
from harness.results.verdict import exit_code, judge_run

if TYPE_CHECKING:
    from harness.image.build import Image


@dataclass(frozen=True)
class TestImageRequest:
    """What `slm test-image` was asked for. `image` None: build (or find) the flavor's own, on its first base
    where `base` is "" and with its own engine where `engine` is "". `suites` (): all that suites/cells.yaml
    has by default. `cells` (): all of the plan. `jobs` None: as many as the host has room for."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    image: Path | None = None
    flavor: str = "ci"
    base: str = ""
    engine: str = ""
    profiles: tuple[str, ...] = ("ci",)
    tls_modes: tuple[str, ...] = TLS_MODES
    machine: str = "qemu"
    accelerator: str = "auto"
    suites: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    jobs: int | None = None
    selection: str = ""
    keep: str = "never"
    minimum_checks: int | None = None
    target: str = "test-image"


BENCH = "bench"
"""The make target that measures."""

FIXED_IN_BENCH = frozenset({"TLS_MODES", "SUITES", "CELLS", "JOBS"})
"""Variables that `make bench` doesn't have: it runs one suite in one TLS mode, one cell at a time."""


@dataclass(frozen=True)
class ChosenAccelerator:
    """The accelerator by name, and the sentence why it is that one."""

    name: str
    reason: str


IN_CONTAINER = ChosenAccelerator("native", "a container runs on the host's own processor")
CONTAINER = "nspawn"

NO_IMAGE = ImageFacts(path="", sha256="", flavor="", base="", engine="", engine_version="", model="")


def run(request: TestImageRequest) -> int:
    """Do all of it; returns the exit code.

    Raises HarnessError when the request is wrong or the host can't do it; what is known by then is in the
    results already.
    """
    suites = chosen_suites(request.suites, load_suites())
    for profile in request.profiles:
        find_profile(profile)
    check_request(request, suites)
    run_folder = new_run_folder(reports_root())
    ledger = _Ledger(request, tuple(one.name for one in suites), run_folder)
    try:
        image = ledger.image = get_image(request)
        ledger.image_took(image)
        chosen = ledger.accelerator = choose(request)
        quick = quick_machine(request, chosen)
        plan = pick_cells(make_plan(request, suites, quick=quick.name), request.cells)
        room = Room(host.usable_cores(), available_mib(host.read_proc("meminfo")), request.jobs)
        plans = cell_plans(request, plan, image, chosen, room, run_folder)
        tell_plan(request, plan, quick, plans)
        ledger.runs_on({one.machine for one in plans})
        ledger.order = tuple(one.name for one in plans)
        interrupted = run_cells(plans, room, ledger.add)
    except HarnessError as error:
        # What broke is told by the caller; a disk that refuses the results must not hide it.
        with suppress(HarnessError):
            ledger.publish(fault=str(error))
        raise
    except KeyboardInterrupt:
        ledger.publish(interrupted=True)
        raise
    results = ledger.results(interrupted=interrupted)
    conclude(results, publish(results, run_folder))
    return exit_code(results.verdict, fault=bool(results.fault), interrupted=results.interrupted)


def check_request(request: TestImageRequest, suites: Sequence[Suite]) -> None:
    """Raise HarnessError for what is wrong with the request before anything is built."""
    # Which cells there are depends on the quick machine, and that on the accelerator, known only later.
    possible = [make_plan(request, suites, quick=quick) for quick in (request.machine, "nspawn")]
    cells = {cell.name: cell for plan in possible for cell in plan.cells}
    picked = pick_cells(Plan(tuple(cells.values())), request.cells)
    if not any(select(cell, request.selection).targets for cell in picked.cells):
        raise HarnessError(
            f"TESTS={request.selection} names no check of {', '.join(cell.name for cell in picked.cells)}",
            hint="name files or node ids of suites/benchmark"
            if request.target == BENCH
            else "name files or node ids of a suite that is run, or widen SUITES, TLS_MODES or CELLS",
        )


def make_plan(request: TestImageRequest, suites: Sequence[Suite], *, quick: str) -> Plan:
    """All cells of the request, whatever it picks of them. Raises HarnessError when there are none."""
    return plan_cells(
        request.profiles,
        request.tls_modes,
        suites,
        asked=request.machine,
        quick=quick,
        suites_named=request.suites not in ((), (ALL,)),
    )


def quick_machine(request: TestImageRequest, chosen: ChosenAccelerator) -> QuickMachine:
    """The machine of the suites that need no virtual one. A benchmark for which emulation was asked by name
    is emulated: it shows that everything works under QEMU, and judges no speed."""
    if request.target == "bench" and (request.machine, request.accelerator) == ("qemu", "tcg"):
        return QuickMachine("qemu", "emulated, as was asked for: no speed means anything")
    return choose_quick(request.machine, chosen.name)


def tell_plan(request: TestImageRequest, plan: Plan, quick: QuickMachine, plans: Sequence[CellPlan]) -> None:
    """Say which cells there are and why they run where they run."""
    if len(plans) > 1:
        terminal.say(f"{len(plans)} cells: {', '.join(one.name for one in plans)}")
    for note in plan.notes:
        terminal.say(note)
    if (left := not_by_default(load_suites())) and not request.suites:
        terminal.say(f"SUITES=all has also: {', '.join(left)}")
    if quick.reason and any(one.suite.machine != "asked" for cell in plan.cells for one in cell.suites):
        terminal.say(quick.reason)


def get_image(request: TestImageRequest) -> Image:
    """The image named in the request, or the flavor's own, built when something it is made of has changed."""
    from harness.image.build import build_image, load_image

    if request.image is not None:
        with terminal.step(f"Look at the image {request.image.name}"):
            return load_image(request.image)
    with terminal.step(f"Get the image of flavor {request.flavor}"):
        return build_image(request.flavor, request.accelerator, base=request.base, engine=request.engine)


def choose(request: TestImageRequest) -> ChosenAccelerator:
    """The accelerator of the cells; a container needs none."""
    if request.machine != "qemu":
        return IN_CONTAINER
    from harness.machine.accelerator import choose_accelerator

    with terminal.step("Choose the accelerator") as step:
        chosen = choose_accelerator(request.accelerator)
        step.note(f"{chosen.name}: {chosen.reason}")
    return ChosenAccelerator(chosen.name, chosen.reason)


def where_it_runs(asked: str, chosen: ChosenAccelerator, machines: Set[str]) -> tuple[str, ChosenAccelerator]:
    """The run's machine and accelerator: containers where all cells are some, whatever was asked for."""
    if asked == CONTAINER or machines != {CONTAINER}:
        return asked, chosen
    reason = f"{IN_CONTAINER.reason}; QEMU would be {chosen.name}: {chosen.reason}"
    return CONTAINER, replace(IN_CONTAINER, reason=reason)


def cell_plans(
    request: TestImageRequest,
    plan: Plan,
    image: Image,
    chosen: ChosenAccelerator,
    room: Room,
    run_folder: Path,
) -> list[CellPlan]:
    """The cells as they are run, without those that have no check of the selection (TESTS)."""
    selected = [(cell, select(cell, request.selection)) for cell in plan.cells]
    plans = [
        _cell_plan(request, cell, selection, image, chosen, run_folder)
        for cell, selection in selected
        if selection.targets
    ]
    if not room.side_by_side(plans):
        return plans
    widest = max(len(one.name) for one in plans)
    return [replace(one, prefix=f"{one.name:{widest}} │ ") for one in plans]


def _cell_plan(
    request: TestImageRequest,
    cell: PlannedCell,
    selection: Selection,
    image: Image,
    chosen: ChosenAccelerator,
    run_folder: Path,
) -> CellPlan:
    profile = find_profile(cell.profile)
    # Who selects checks, or says how many there must be, doesn't get the suites' own minimums.
    own_minimums = not request.selection and request.minimum_checks is None
    return CellPlan(
        name=cell.name,
        profile=cell.profile,
        tls_mode=cell.tls_mode,
        machine=cell.machine,
        # The child asks again and gets the remembered answer; "native" is no choice of QEMU's.
        accelerator=chosen.name if cell.machine == "qemu" else "auto",
        image=image.path,
        targets=selection.targets,
        expression=selection.expression,
        vm_only=cell.vm_only,
        minimums={one.suite.name: one.share.minimum if own_minimums else 0 for one in cell.suites},
        required=1 if request.selection else request.minimum_checks or 1,
        keep=request.keep,
        run_folder=run_folder,
        rerun=cell_command(request, image, cell),
        cores=cell.cores(profile.vcpus),
        ram_mib=profile.ram_mib,
        seconds=cell.seconds,
        boots_alone=cell.boots_alone,
    )


def cell_command(request: TestImageRequest, image: Image, cell: PlannedCell) -> str:
    """The command that runs one cell of this run again, with the same image.

    What a cell runs depends on the other cells of its run (the first TLS mode has a suite whole), so the run
    is asked for, and one of its cells. `make bench` has a cell a profile: there the profile is the cell.
    """
    again = replace(request, image=image.path, flavor="ci", base="", engine="", jobs=None, selection="")
    if request.target == BENCH:
        return run_command(replace(again, profiles=(cell.profile,)))
    return run_command(replace(again, cells=(cell.name,)))


def run_command(request: TestImageRequest) -> str:
    """The command that asks for this whole run again, in words that its make target knows."""
    default = TestImageRequest()
    changed = {
        "IMAGE": str(request.image or ""),
        "FLAVOR": request.flavor if request.flavor != default.flavor else "",
        "BASE": request.base,
        "ENGINE": request.engine,
        "PROFILES": " ".join(request.profiles) if request.profiles != default.profiles else "",
        "TLS_MODES": " ".join(request.tls_modes) if request.tls_modes != default.tls_modes else "",
        "MACHINE": request.machine if request.machine != default.machine else "",
        "ACCELERATOR": request.accelerator if request.accelerator != default.accelerator else "",
        "SUITES": " ".join(request.suites),
        "CELLS": " ".join(request.cells),
        "JOBS": str(request.jobs or ""),
        "TESTS": request.selection,
    }
    unknown = FIXED_IN_BENCH if request.target == BENCH else frozenset()
    return make_command(
        request.target, {name: value for name, value in changed.items() if name not in unknown}
    )


class _Ledger:
    """What is known of the run so far; the results can be drawn from it at any time."""

    def __init__(self, request: TestImageRequest, suites: tuple[str, ...], folder: Path) -> None:
        self.request = request
        self.suites = suites
        self.folder = folder
        self.order: tuple[str, ...] = ()
        self.image: Image | None = None
        self.accelerator = ChosenAccelerator("", "")
        self.machine = request.machine
        self._cells: dict[str, Cell] = {}
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._image_s = 0.0

    def image_took(self, image: Image) -> None:
        """The image is there."""
        self.image = image
        self._image_s = time.monotonic() - self._clock

    def runs_on(self, machines: Set[str]) -> None:
        """The cells' machines are known."""
        self.machine, self.accelerator = where_it_runs(self.request.machine, self.accelerator, machines)

    def add(self, cell: Cell) -> None:
        """A cell is over; its results are on disk before the next one's."""
        self._cells[cell.name] = cell
        self.publish(interrupted=cell.interrupted or len(self._cells) < len(self.order))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that are over, in the order of the plan whatever order they ended in. Those in which
        nothing fits the selection say nothing and are left out, unless there are only such."""
        cells = tuple(self._cells[name] for name in self.order if name in self._cells)
        if not self.request.selection:
            return cells
        return tuple(cell for cell in cells if not selected_nothing(cell)) or cells

    def results(self, *, fault: str = "", interrupted: bool = False) -> Results:
        """The results so far."""
        cells = self.cells
        interrupted = interrupted or any(cell.interrupted for cell in cells)
        fault = fault or next((f"{cell.name}: {cell.fault}" for cell in cells if cell.fault), "")
        judgement = judge_run(cells, fault=fault, interrupted=interrupted)
        wall_s = time.monotonic() - self._clock
        return Results(
            verdict=judgement.verdict,
            reason=judgement.reason,
            fault=fault,
            interrupted=interrupted,
            image=image_facts(self.image),
            host=host_facts(self.accelerator, self.machine),
            cells=cells,
            suites=self.suites,
            selection=self.request.selection,
            started=self._started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            wall_s=wall_s,
            timings=RunTimings(image_s=self._image_s, cells_s=max(0.0, wall_s - self._image_s)),
            commit=host.git_commit(),
            command=run_command(self.request),
        )

    def publish(self, *, fault: str = "", interrupted: bool = False) -> None:
        """Write the results so far and all that is drawn from them."""
        publish(self.results(fault=fault, interrupted=interrupted), self.folder)


def selected_nothing(cell: Cell) -> bool:
    """True when no check of the cell fits the selection (but for the harness's own check of its files)."""
    own_only = all(check.id == OWN_CHECK for check in cell.checks)
    return own_only and not cell.fault and not cell.interrupted


def image_facts(image: Image | None) -> ImageFacts:
    """An image's facts as results tell them."""
    if image is None:
        return NO_IMAGE
    return ImageFacts(
        path=str(image.path),
        sha256=image.sha256,
        flavor=image.flavor,
        base=image.base,
        engine=image.engine,
        engine_version=image.engine_version,
        model=image.model,
        unpinned=image.unpinned,
    )


def host_facts(accelerator: ChosenAccelerator, machine: str) -> HostFacts:
    """This host's facts as results tell them."""
    return HostFacts(
        cpu=host.cpu_name(host.read_proc("cpuinfo")),
        cores=host.usable_cores(),
        ram_mib=host.ram_mib(host.read_proc("meminfo")),
        kernel=host.read_proc("sys/kernel/osrelease").strip(),
        accelerator=accelerator.name,
        accelerator_reason=accelerator.reason,
        machine=machine,
    )


def conclude(results: Results, published: Published) -> None:
    """Print the table, the failed checks, the verdict and where everything is."""
    terminal.say("")
    if results.cells:
        terminal.render(summary_table(results))
        terminal.say("")
    for cell in results.cells:
        if (speeds := speeds_table(cell)) is not None:
            terminal.render(speeds)
            terminal.say("")
        for line, style in measured_lines(cell):
            terminal.say(line, style)
    for line in failure_lines(results):
        terminal.say(line, "red" if line.startswith("✗") else "dim")
    terminal.say(f"{results.verdict}: {results.reason}", VERDICT_STYLE[results.verdict])
    took = f"took {terminal.format_seconds(results.wall_s)}"
    image = f", of that {terminal.format_seconds(results.timings.image_s)} for the image"
    terminal.say(took + (image if results.image.path else ""))
    for label, path in _paths(published):
        terminal.say(f"{label:8} {path}", "dim")


def _paths(published: Published) -> Sequence[tuple[str, Path]]:
    return (
        ("report", published.report),
        ("results", published.results),
        ("junit", published.junit),
        ("summary", published.summary),
    )
