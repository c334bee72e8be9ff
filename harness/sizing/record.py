"""The measurements as a run's results: the same metrics, in the same file, as every other run has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness.bench.roofline import CEILING_FORMULA, ETA_FORMULA, reached
from harness.bench.statistics import MEDIAN_FORMULA, Interval, median_interval, outliers
from harness.results import host
from harness.results.folder import files_of
from harness.results.model import (
    Cell,
    CellTimings,
    Counts,
    HostFacts,
    ImageFacts,
    Label,
    Metric,
    Results,
    RunTimings,
)
from harness.results.rerun import make_command
from harness.results.verdict import Judgement
from harness.sizing.llama_bench import Timed
from harness.sizing.measured import COLD_FORMULA, Measured, Target

CELL = "size-host"
MACHINE = "host"
_DECODE_FORMULA = f"tokens / seconds of each repetition; {MEDIAN_FORMULA}"


def results_of(
    measured: Measured,
    targets: Sequence[Target],
    judgement: Judgement,
    *,
    paragraph: str,
    engine_version: str,
    run_folder: Path,
    started: datetime,
    write_s: float,
    wall_s: float,
) -> Results:
    """One cell, `size-host`, whose guest facts hold the paragraph."""
    shape = measured.shape
    rerun = make_command("size-host", {"MODEL": shape.key})
    cell = Cell(
        name=CELL,
        profile="none",
        tls_mode="none",
        machine=MACHINE,
        accelerator="",
        verdict=judgement.verdict,
        reason=judgement.reason,
        fault="",
        interrupted=False,
        tests=Counts(),
        timings=CellTimings(),
        metrics=metrics_of(measured, targets, write_s=write_s),
        checks=(),
        guest={
            "model": shape.key,
            "answer": paragraph,
            "bottleneck": measured.bottleneck,
            "engine_cpu_variant": measured.decode.variant,
            "bandwidth": measured.bandwidth_note,
        },
        rerun=rerun,
        evidence=CELL,
        files=files_of(run_folder / CELL, run_folder),
        conditions=measured.conditions.as_labels(),
    )
    return Results(
        verdict=judgement.verdict,
        reason=judgement.reason,
        fault="",
        interrupted=False,
        image=ImageFacts("", "", "", "llama-server", engine_version, f"{shape.name}, random weights"),
        host=HostFacts(
            cpu=host.cpu_name(host.read_proc("cpuinfo")),
            cores=host.usable_cores(),
            ram_mib=host.ram_mib(host.read_proc("meminfo")),
            kernel=host.read_proc("sys/kernel/osrelease").strip(),
            accelerator="native",
            accelerator_reason="no guest: the engine ran on this machine",
            machine=MACHINE,
        ),
        cells=(cell,),
        suites=(),
        selection="",
        started=started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_s=wall_s,
        timings=RunTimings(image_s=write_s, cells_s=max(0.0, wall_s - write_s)),
        commit=host.git_commit(),
        command=rerun,
    )


def metrics_of(measured: Measured, targets: Sequence[Target], *, write_s: float) -> tuple[Metric, ...]:
    """Every figure with its axes, samples and interval; one of them for each target."""
    shape = measured.shape
    metrics = [
        _speed("decode_speed", measured.decode),
        *([_speed("decode_speed", measured.deep)] if measured.deep else []),
        _speed("prefill_speed", measured.prefill),
        *(
            _speed("thread_sweep", timed, kind="decode")
            for timed in (measured.fewer, measured.decode)
            if timed is not None
        ),
        *(_target(measured, target) for target in targets),
    ]
    cold = measured.cold_prompt()
    metrics.append(
        Metric(
            "ttft",
            "s",
            cold.value,
            cold.low,
            cold.high,
            cold.n,
            labels={"path": "predicted", "state": "cold", "prompt_tokens": measured.cold_tokens},
            better="lower",
            formula=COLD_FORMULA,
        )
    )
    metrics += _roofline(measured)
    metrics.append(Metric("model_size", "MiB", shape.published / 1048576, labels={"form": "file"}))
    metrics.append(Metric("model_write", "s", write_s))
    return tuple(metrics)


def _roofline(measured: Measured) -> list[Metric]:
    threads = measured.decode.question.threads
    decoded = [
        (0, measured.decode),
        *([(measured.deep.question.depth, measured.deep)] if measured.deep else []),
    ]
    metrics = []
    for depth, timed in decoded:
        limit = measured.ceiling(depth)
        if limit is None:
            continue
        axes: dict[str, Label] = {"depth": depth, "threads": threads}
        eta = reached(median_interval(timed.tokens_per_s), limit)
        if depth == 0:
            metrics.append(_of_interval("bandwidth", "GB/s", limit.gb_s, {"threads": threads}))
        metrics.append(_of_interval("roofline_ceiling", "tok/s", limit.tok_s, axes, CEILING_FORMULA))
        metrics.append(_of_interval("eta", "", eta, axes, ETA_FORMULA))
    return metrics


def _of_interval(
    name: str, unit: str, interval: Interval, labels: Mapping[str, Label], formula: str = ""
) -> Metric:
    return Metric(
        name,
        unit,
        interval.value,
        interval.low,
        interval.high,
        interval.n,
        labels=labels,
        better="higher",
        formula=formula,
    )


def _speed(name: str, timed: Timed, **labels: Label) -> Metric:
    interval = median_interval(timed.tokens_per_s)
    return Metric(
        name,
        "tok/s",
        interval.value,
        interval.low,
        interval.high,
        interval.n,
        labels={**_axes(timed), **labels},
        samples=timed.tokens_per_s,
        outliers=outliers(timed.tokens_per_s),
        better="higher",
        formula=_DECODE_FORMULA,
    )


def _axes(timed: Timed) -> dict[str, Label]:
    asked = timed.question
    length: dict[str, Label] = {"prompt_tokens": asked.prompt} if asked.prompt else {}
    return {
        "path": "llama-bench",
        **length,
        "depth": asked.depth,
        "threads": asked.threads,
        "kv": asked.kv,
    }


def _target(measured: Measured, target: Target) -> Metric:
    interval = measured.decode_speed
    return Metric(
        "decode_speed",
        "tok/s",
        interval.value,
        interval.low,
        interval.high,
        interval.n,
        target.at_least,
        target.judged.verdict,
        labels={**_axes(measured.decode), "profile": target.profile.name},
        samples=measured.decode.tokens_per_s,
        reason=target.judged.reason,
        better="higher",
        formula=_DECODE_FORMULA,
    )
