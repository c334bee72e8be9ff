"""`slm bench-compare A.qcow2 B.qcow2`: both images on this host at once, measured in turns."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import terminal
from harness.bench.compare import DEFAULT_THRESHOLD, INTERLEAVED, Comparison, compare
from harness.bench.conditions import Conditions, measured_window
from harness.bench.footprint import FORMULAS, MIB
from harness.bench.in_turns import ROUNDS, Pairs, Side, measure_in_turns
from harness.cell.options import cell_name
from harness.cell.session import READY_WITHIN_S, work_folder
from harness.cli.test_image import (
    ChosenAccelerator,
    TestImageRequest,
    choose,
    get_image,
    host_facts,
    image_facts,
)
from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.matrix.quick_machine import choose_quick
from harness.profiles import Profile, find_profile
from harness.results import host
from harness.results.folder import kept_unless_interrupted, new_run_folder, reports_root
from harness.results.model import Cell, CellTimings, Counts, Metric, Results, RunTimings, write_results
from harness.results.publish import RESULTS_FILE
from harness.results.rerun import make_command
from harness.results.verdict import EXIT_INCONCLUSIVE

if TYPE_CHECKING:
    from harness.image.build import Image

QCOW2_MAGIC = b"QFI\xfb"
TLS_MODE = "selfsigned"
REQUEST_WITHIN_S = 300.0
"""A cold prompt of 512 tokens, for the largest model on a host that can hardly carry it."""


@dataclass(frozen=True)
class ImagesRequest:
    """Which two images, on what. `machine`: qemu (a container where that would be emulated) or nspawn;
    `threshold` as a share."""

    before: Path
    after: Path
    profile: str = "ci"
    machine: str = "qemu"
    accelerator: str = "auto"
    threshold: float = DEFAULT_THRESHOLD
    rounds: int = ROUNDS


@dataclass(frozen=True)
class _Setting:
    """What both sides have in common."""

    request: ImagesRequest
    profile: Profile
    machine: str
    chosen: ChosenAccelerator
    folder: Path


@dataclass(frozen=True)
class _Run:
    """What was measured, when and for how long."""

    pairs: Pairs
    conditions: Conditions
    started: datetime
    seconds: float


def is_image(path: Path) -> bool:
    """Whether a file is a qcow2 image, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(QCOW2_MAGIC)) == QCOW2_MAGIC
    except OSError:
        return False


def compare_images(request: ImagesRequest) -> Comparison:
    """Boot both, measure them in turns, and hold B against A. The results of each are kept in a run's folder,
    for another comparison. Raises HarnessError, with exit code 3 where only emulation can be had."""
    profile = find_profile(request.profile)
    images = [get_image(TestImageRequest(image=path)) for path in (request.before, request.after)]
    machine, chosen = _choose_machine(request)
    with kept_unless_interrupted(new_run_folder(reports_root())) as folder:
        setting = _Setting(request, profile, machine, chosen, folder)
        run = _measure(setting, images)
    for told in run.pairs.failures:
        terminal.say(f"failed: {told}", "red")
    results = [_results(setting, image, side, run) for side, image in enumerate(images)]
    names = []
    for letter, one in zip("AB", results, strict=True):
        path = setting.folder / letter / RESULTS_FILE
        write_results(one, path)
        names.append(f"{one.image.path}: image {one.image.sha256[:12]}, {path}")
    comparison = compare(*results, names=(names[0], names[1]), threshold=request.threshold)
    return replace(comparison, notes=(*_lost(run.pairs), *comparison.notes))


def _lost(pairs: Pairs) -> tuple[str, ...]:
    notes = (pairs.stopped,) if pairs.stopped else ()
    match len(pairs.failures):
        case 0:
            return notes
        case 1:
            return (*notes, "1 request failed; its pair is left out")
        case number:
            return (*notes, f"{number} requests failed; their pairs are left out")


def _choose_machine(request: ImagesRequest) -> tuple[str, ChosenAccelerator]:
    asked = TestImageRequest(machine=request.machine, accelerator=request.accelerator)
    chosen = choose(asked)
    quick = choose_quick(request.machine, chosen.name)
    if quick.name == "qemu" and chosen.name == "tcg":
        raise HarnessError(
            "here QEMU only emulates (TCG), where no speed means anything",
            hint="use a host with KVM, or be root so that containers can be used",
            exit_code=EXIT_INCONCLUSIVE,
        )
    if quick.name != request.machine:
        terminal.say("measured in containers, not VMs: QEMU would emulate here")
        chosen = choose(replace(asked, machine=quick.name))
    return quick.name, chosen


def _measure(setting: _Setting, images: list[Image]) -> _Run:
    with ExitStack() as stack:
        booted = [_boot(setting, image, letter, stack) for letter, image in zip("AB", images, strict=True)]
        started, clock = datetime.now(UTC), time.monotonic()
        with terminal.step("Measure both in turns") as step, measured_window() as window:
            pairs = measure_in_turns(
                (booted[0], booted[1]),
                timeout_s=REQUEST_WITHIN_S,
                rounds=setting.request.rounds,
                on_progress=step.progress,
            )
        return _Run(pairs, window.conditions, started, time.monotonic() - clock)


def _boot(setting: _Setting, image: Image, letter: str, stack: ExitStack) -> Side:
    from harness.bench.wire import appliance_target
    from harness.cell.address import appliance_at, read_report
    from harness.cell.tls_setting import TlsSetting
    from harness.machine.boot import boot
    from harness.machine.cell import CellRequest, open_machine

    folder = setting.folder / letter
    folder.mkdir()
    machine = stack.enter_context(
        open_machine(
            CellRequest(
                profile=setting.profile,
                tls_mode=TLS_MODE,
                machine=setting.machine,
                image=image.path,
                context={"ONEAPP_SLM_TLS_MODE": TLS_MODE},
                accelerator=setting.chosen.name if setting.machine == "qemu" else "auto",
                work=work_folder(),
            )
        )
    )
    with terminal.step(f"Boot {letter}, {image.path.name}, with profile {setting.profile.name}") as step:
        step.waiting_for("the appliance to be ready")
        try:
            boot(machine, Deadline.after(READY_WITHIN_S))
        except HarnessError:
            machine.save_evidence(folder)
            raise
    appliance = appliance_at(machine, read_report(machine), TlsSetting(), folder)
    return Side(letter, appliance_target(appliance), appliance.model)


def _results(setting: _Setting, image: Image, side: int, run: _Run) -> Results:
    request = setting.request
    default = ImagesRequest(request.before, request.after)
    command = make_command(
        "bench-compare",
        {
            "A": str(request.before),
            "B": str(request.after),
            "PROFILE": request.profile,
            "MACHINE": request.machine if request.machine != default.machine else "",
            "ACCELERATOR": request.accelerator if request.accelerator != default.accelerator else "",
            "THRESHOLD": f"{100 * request.threshold:g}" if request.threshold != default.threshold else "",
        },
    )
    reason = "nothing was judged: this is one side of a comparison"
    cell = Cell(
        name=cell_name(setting.profile.name, TLS_MODE),
        profile=setting.profile.name,
        tls_mode=TLS_MODE,
        machine=setting.machine,
        accelerator=setting.chosen.name,
        verdict="INCONCLUSIVE",
        reason=reason,
        fault="",
        interrupted=False,
        tests=Counts(),
        timings=CellTimings(),
        metrics=(*run.pairs.metrics(side), _size(image)),
        checks=(),
        guest={},
        rerun=command,
        evidence=".",
        files=(),
        conditions={**run.conditions.as_labels(), INTERLEAVED: setting.folder.name},
    )
    return Results(
        verdict="INCONCLUSIVE",
        reason=reason,
        fault="",
        interrupted=False,
        image=image_facts(image),
        host=host_facts(setting.chosen, setting.machine),
        cells=(cell,),
        suites=(),
        selection="",
        started=run.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_s=run.seconds,
        timings=RunTimings(0.0, run.seconds),
        commit=host.git_commit(),
        command=command,
    )


def _size(image: Image) -> Metric:
    size = image.path.stat().st_size / MIB
    return Metric(
        "image_size",
        "MiB",
        round(size, 1),
        n=1,
        labels={"form": "file"},
        better="lower",
        formula=FORMULAS["image_size"],
    )
