"""`slm test-image`: the image, the accelerator, every cell, the results, the verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import terminal
from harness.cli.run_cell import CellPlan, run_cell
from harness.errors import HarnessError
from harness.locations import REPOSITORY
from harness.profiles import find_profile
from harness.results import host
from harness.results.folder import new_run_folder, reports_root
from harness.results.model import Cell, HostFacts, ImageFacts, Results, RunTimings
from harness.results.publish import Published, publish
from harness.results.rerun import make_command
from harness.results.summary import VERDICT_STYLE, failure_lines, summary_table, throughput_lines
from harness.results.verdict import exit_code, judge_run, required_checks

if TYPE_CHECKING:
    from harness.image.build import Image


@dataclass(frozen=True)
class TestImageRequest:
    """What `slm test-image` was asked for. `image` None: build (or find) the flavor's own."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    image: Path | None = None
    flavor: str = "ci"
    profiles: tuple[str, ...] = ("ci",)
    tls_modes: tuple[str, ...] = ("selfsigned",)
    machine: str = "qemu"
    accelerator: str = "auto"
    suites: tuple[str, ...] = ("conformance",)
    selection: str = ""
    keep: str = "never"
    minimum_checks: int | None = None


@dataclass(frozen=True)
class ChosenAccelerator:
    """The accelerator by name, and the sentence why it is that one."""

    name: str
    reason: str


NO_IMAGE = ImageFacts(path="", sha256="", flavor="", engine="", engine_version="", model="")


def run(request: TestImageRequest) -> int:
    """Do all of it; returns the exit code.

    Raises HarnessError when the request is wrong or the host can't do it; what is known by then is in the
    results already.
    """
    suites = tuple(suite_folder(name) for name in request.suites)
    for profile in request.profiles:
        find_profile(profile)
    run_folder = new_run_folder(reports_root())
    ledger = _Ledger(request, run_folder)
    try:
        image = ledger.image = get_image(request)
        ledger.image_took(image)
        chosen = ledger.accelerator = choose(request)
        plans = [
            _plan(request, image, chosen, suites, run_folder, profile, tls_mode)
            for profile in request.profiles
            for tls_mode in request.tls_modes
        ]
        for plan in plans:
            cell = run_cell(plan)
            ledger.add(cell, more_to_come=len(ledger.cells) + 1 < len(plans))
            if cell.interrupted:
                break
    except HarnessError as error:
        # What broke is told by the caller; a disk that refuses the results must not hide it.
        with suppress(HarnessError):
            ledger.publish(fault=str(error))
        raise
    except KeyboardInterrupt:
        ledger.publish(interrupted=True)
        raise
    results = ledger.results()
    conclude(results, publish(results, run_folder))
    return exit_code(results.verdict, fault=bool(results.fault), interrupted=results.interrupted)


def suite_folder(name: str) -> Path:
    """The folder of a suite: one in suites/ by its name, or any folder by its path. Raises HarnessError."""
    path = Path(name) if "/" in name else REPOSITORY / "suites" / name
    if path.is_dir():
        return path.resolve()
    known = sorted(p.name for p in (REPOSITORY / "suites").glob("*") if p.is_dir() and p.name[0] not in "._")
    raise HarnessError(f"no suite {name!r}", hint=f"suites/ has: {', '.join(known) or 'none'}")


def get_image(request: TestImageRequest) -> Image:
    """The image named in the request, or the flavor's own, built when something it is made of has changed."""
    from harness.image.build import build_image, load_image

    if request.image is not None:
        with terminal.step(f"Look at the image {request.image.name}"):
            return load_image(request.image)
    with terminal.step(f"Get the image of flavor {request.flavor}"):
        return build_image(request.flavor, request.accelerator)


def choose(request: TestImageRequest) -> ChosenAccelerator:
    """The accelerator of the cells; a container needs none."""
    if request.machine != "qemu":
        return ChosenAccelerator("native", "a container runs on the host's own processor")
    from harness.machine.accelerator import choose_accelerator

    with terminal.step("Choose the accelerator") as step:
        chosen = choose_accelerator(request.accelerator)
        step.note(f"{chosen.name}: {chosen.reason}")
    return ChosenAccelerator(chosen.name, chosen.reason)


def _plan(
    request: TestImageRequest,
    image: Image,
    chosen: ChosenAccelerator,
    suites: tuple[Path, ...],
    run_folder: Path,
    profile: str,
    tls_mode: str,
) -> CellPlan:
    return CellPlan(
        profile=profile,
        tls_mode=tls_mode,
        machine=request.machine,
        # The child asks again and gets the remembered answer; "native" is no choice of QEMU's.
        accelerator=chosen.name if request.machine == "qemu" else "auto",
        image=image.path,
        suites=suites,
        selection=request.selection,
        keep=request.keep,
        run_folder=run_folder,
        required=required_checks(request.suites, request.selection, request.minimum_checks),
        rerun=cell_command(request, image, profile, tls_mode),
    )


def cell_command(request: TestImageRequest, image: Image, profile: str, tls_mode: str) -> str:
    """The command that runs one cell of this run again, with the same image."""
    one_cell = replace(
        request, image=image.path, flavor="ci", profiles=(profile,), tls_modes=(tls_mode,), selection=""
    )
    return run_command(one_cell)


def run_command(request: TestImageRequest) -> str:
    """The command that asks for this whole run again."""
    default = TestImageRequest()
    changed = {
        "IMAGE": str(request.image or ""),
        "FLAVOR": request.flavor if request.flavor != default.flavor else "",
        "PROFILES": " ".join(request.profiles) if request.profiles != default.profiles else "",
        "TLS_MODES": " ".join(request.tls_modes) if request.tls_modes != default.tls_modes else "",
        "MACHINE": request.machine if request.machine != default.machine else "",
        "ACCELERATOR": request.accelerator if request.accelerator != default.accelerator else "",
        "SUITES": " ".join(request.suites) if request.suites != default.suites else "",
        "TESTS": request.selection,
    }
    return make_command("test-image", changed)


class _Ledger:
    """What is known of the run so far; the results can be drawn from it at any time."""

    def __init__(self, request: TestImageRequest, folder: Path) -> None:
        self.request = request
        self.folder = folder
        self.image: Image | None = None
        self.accelerator = ChosenAccelerator("", "")
        self.cells: list[Cell] = []
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._image_s = 0.0

    def image_took(self, image: Image) -> None:
        """The image is there."""
        self.image = image
        self._image_s = time.monotonic() - self._clock

    def add(self, cell: Cell, *, more_to_come: bool) -> None:
        """A cell is over; its results are on disk before the next begins."""
        self.cells.append(cell)
        self.publish(interrupted=cell.interrupted or more_to_come)

    def results(self, *, fault: str = "", interrupted: bool = False) -> Results:
        """The results so far."""
        interrupted = interrupted or any(cell.interrupted for cell in self.cells)
        fault = fault or next((f"{cell.name}: {cell.fault}" for cell in self.cells if cell.fault), "")
        judgement = judge_run(self.cells, fault=fault, interrupted=interrupted)
        wall_s = time.monotonic() - self._clock
        return Results(
            verdict=judgement.verdict,
            reason=judgement.reason,
            fault=fault,
            interrupted=interrupted,
            image=image_facts(self.image),
            host=host_facts(self.accelerator, self.request.machine),
            cells=tuple(self.cells),
            suites=self.request.suites,
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


def image_facts(image: Image | None) -> ImageFacts:
    """An image's facts as results tell them."""
    if image is None:
        return NO_IMAGE
    return ImageFacts(
        path=str(image.path),
        sha256=image.sha256,
        flavor=image.flavor,
        engine=image.engine,
        engine_version=image.engine_version,
        model=image.model,
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
    for line in throughput_lines(results):
        terminal.say(line)
    for line in failure_lines(results):
        terminal.say(line, "red" if line.startswith("✗") else "dim")
    terminal.say(f"{results.verdict}: {results.reason}", VERDICT_STYLE[results.verdict])
    took = terminal.format_seconds(results.wall_s)
    terminal.say(f"took {took}, of that {terminal.format_seconds(results.timings.image_s)} for the image")
    for label, path in _paths(published):
        terminal.say(f"{label:8} {path}", "dim")


def _paths(published: Published) -> Sequence[tuple[str, Path]]:
    return (
        ("report", published.report),
        ("results", published.results),
        ("junit", published.junit),
        ("summary", published.summary),
    )
