"""`slm size-host`: how fast would this machine be with that model? Measured with random weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import terminal
from harness.image.engine import build_engine, engine_version
from harness.locations import sizing
from harness.machine.host import available_memory_mib
from harness.profiles import load_profiles
from harness.results.folder import kept_unless_interrupted, new_run_folder, reports_root
from harness.results.model import write_whole
from harness.results.publish import publish
from harness.results.summary import VERDICT_STYLE
from harness.results.verdict import exit_code
from harness.sizing.appliance_rules import Appliance, ask_appliance
from harness.sizing.gguf_header import file_bytes
from harness.sizing.gguf_writer import is_kept, synthetic_model
from harness.sizing.measured import judge_sizing_run, judge_targets, profiles_carried
from harness.sizing.measuring import measure
from harness.sizing.paragraph import answer, profile_lines
from harness.sizing.record import CELL, results_of
from harness.sizing.room import disk_need, memory_need, refuse_without_room
from harness.sizing.shapes import ModelShape, find_model, load_models

BUDGET_S = 300.0
"""Seconds of measuring when nobody says otherwise; loading the model comes on top, several times."""

_CONTEXTS = (8192 + 64, 4096 + 64, 1024 + 64, 512 + 16)
"""Tokens of context a measurement may need; the largest that the free memory has room for is allowed."""


@dataclass(frozen=True)
class SizeHostRequest:
    """What `slm size-host` was asked for. `keep`: the file stays in the cache for the next time."""

    model: str
    budget_s: float = BUDGET_S
    keep: bool = False


def run(request: SizeHostRequest) -> int:
    """Do all of it; returns the exit code.

    Raises HarnessError when the model is unknown, disk or memory do not suffice, or the engine fails.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    shape = find_model(request.model)
    appliance = ask_appliance()
    folder = sizing()
    most_tokens = _check_room(shape, appliance, folder)
    with terminal.step("Get the engine"):
        engine = build_engine()
    with (
        kept_unless_interrupted(new_run_folder(reports_root())) as run_folder,
        _written(shape, folder, keep=request.keep) as (model, write_s),
    ):
        log = run_folder / CELL / "llama-bench.log"
        log.parent.mkdir()
        measured = measure(
            shape,
            appliance,
            engine,
            model,
            seconds=request.budget_s,
            most_tokens=most_tokens,
            log=log,
        )
    carried = profiles_carried(shape, appliance, list(load_profiles().values()))
    targets = judge_targets(measured, carried)
    judgement = judge_sizing_run(measured, targets)
    paragraph = answer(measured, carried, targets)
    write_whole(log.with_name("answer.txt"), "\n".join((paragraph, "", *profile_lines(carried), "")))
    results = results_of(
        measured,
        targets,
        judgement,
        paragraph=paragraph,
        engine_version=engine_version(engine),
        run_folder=run_folder,
        started=started,
        write_s=write_s,
        wall_s=time.monotonic() - clock,
    )
    # `reports/latest` stays with the newest run that judged an image.
    published = publish(results, run_folder, latest=False)
    terminal.say("")
    terminal.say(paragraph)
    terminal.say("")
    for line in profile_lines(carried):
        terminal.say(f"  {line}", "dim")
    terminal.say("")
    terminal.say(f"{results.verdict}: {results.reason}", VERDICT_STYLE[results.verdict])
    terminal.say(f"took {terminal.format_seconds(results.wall_s)}")
    terminal.say(f"report   {published.report}", "dim")
    terminal.say(f"results  {published.results}", "dim")
    return exit_code(results.verdict, fault=False, interrupted=False)


@contextmanager
def _written(shape: ModelShape, folder: Path, *, keep: bool) -> Iterator[tuple[Path, float]]:
    """Lend the file and the seconds that writing it took."""
    total, began = file_bytes(shape), time.monotonic()
    with ExitStack() as stack:
        with terminal.step(f"Write {total:,} bytes of the shape of {shape.name}") as step:
            model = stack.enter_context(
                synthetic_model(
                    shape, folder, keep=keep, on_progress=lambda written: step.progress(written, total)
                )
            )
        yield model, time.monotonic() - began


def _check_room(shape: ModelShape, appliance: Appliance, folder: Path) -> int:
    """The most tokens of context that may be measured. Raises HarnessError with the arithmetic when not even
    the least of it has room; nothing has been written then."""
    free_kib = available_memory_mib() * 1024
    if appliance.memory_kib:
        free_kib = min(free_kib, appliance.memory_kib)
    needs = [
        memory_need(shape, appliance.reserves, tokens=min(tokens, shape.context), kv="f16", free_kib=free_kib)
        for tokens in _CONTEXTS
    ]
    disk = () if is_kept(shape, folder) else (disk_need(shape, folder),)
    smaller = [key for key, other in load_models().items() if other.published < shape.published]
    others = f"free some, or size this machine for a smaller model: {', '.join(smaller)}"
    refuse_without_room((*disk, needs[-1]), others if smaller else "free some")
    return next(
        min(tokens, shape.context)
        for tokens, need in zip(_CONTEXTS, needs, strict=True)
        if need.total <= need.there
    )
