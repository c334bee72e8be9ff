"""Runs the engine's own benchmark on this host and reads what it measured."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.image.external_tool import find_tool, run_tool
from harness.sizing.memory import KvType

WARM_UP = 1
"""Repetitions that are made and discarded: the first one touches the weights for the first time."""

_VARIANT = re.compile(r"libggml-cpu-([a-z0-9_]+)\.so")


@dataclass(frozen=True)
class Question:
    """What to time: reading a prompt of `prompt` tokens or, when that is 0, generating `generate` tokens;
    with `depth` tokens before them in the context. `batch`: tokens of a prompt that are read at once."""

    threads: int
    repetitions: int
    batch: int
    prompt: int = 0
    generate: int = 0
    depth: int = 0
    kv: KvType = "f16"


@dataclass(frozen=True)
class Timed:
    """The answer: tokens per second of each repetition in the order of measuring, the warm-up left out.

    `model_bytes` and `parameters` are what the engine counted when it loaded the file; `variant` the library
    it chose for this processor; `seconds` the whole run with loading.
    """

    question: Question
    tokens_per_s: tuple[float, ...]
    model_bytes: int
    parameters: int
    variant: str
    seconds: float


@dataclass
class _Output:
    """What the program has printed."""

    results: list[dict[str, Any]] = field(default_factory=list)
    variant: str = ""

    def take(self, line: str) -> None:
        if line.startswith("{"):
            self.results.append(json.loads(line))
        elif match := _VARIANT.search(line):
            self.variant = match[1]


def time_model(engine: Path, model: Path, question: Question, *, log: Path, deadline_s: float) -> Timed:
    """Run llama-bench of the engine's folder on a model's file.

    The program ends when we do, however that happens. Raises HarnessError when it fails, takes longer than
    `deadline_s` seconds, or answers something else than what was asked.
    """
    output = _Output()
    started = time.monotonic()

    def watch() -> None:
        if time.monotonic() - started > deadline_s:
            raise HarnessError(
                f"llama-bench took longer than {deadline_s:.0f} s",
                hint="this host is too busy or too slow for this model; try a smaller one (MODEL=)",
            )

    run_tool(
        [find_tool("setpriv", "util-linux"), "--pdeathsig", "KILL", *_command(engine, model, question)],
        what="llama-bench",
        log=log,
        on_line=output.take,
        watch=watch,
    )
    seconds = time.monotonic() - started
    if len(output.results) != 1 or len(samples := output.results[0]["samples_ts"]) <= WARM_UP:
        raise HarnessError("llama-bench did not answer with one result", hint=f"the whole log: {log}")
    result = output.results[0]
    return Timed(
        question=question,
        tokens_per_s=tuple(float(sample) for sample in samples[WARM_UP:]),
        model_bytes=int(result["model_size"]),
        parameters=int(result["model_n_params"]),
        variant=output.variant,
        seconds=seconds,
    )


def _command(engine: Path, model: Path, question: Question) -> list[str | Path]:
    options = {
        "--model": model,
        "--threads": question.threads,
        "--n-prompt": question.prompt,
        "--n-gen": question.generate,
        "--n-depth": question.depth,
        "--batch-size": question.batch,
        "--ubatch-size": question.batch,
        "--cache-type-k": question.kv,
        "--cache-type-v": question.kv,
        "--repetitions": question.repetitions + WARM_UP,
        "--output": "jsonl",
    }
    words: list[str | Path] = [engine / "llama-bench", "--no-warmup"]
    for option, value in options.items():
        words += [option, str(value)]
    return words
