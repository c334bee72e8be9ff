"""The engine's own benchmark (llama-bench) in the guest: one call is one short repetition or a few, so that a
caller can alternate it with requests of clients.

It runs as the engine's user with the limits of its unit, beside the engine, which has nothing to do then.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.deadline import DeadlineExceeded
from harness.errors import HarnessError
from harness.machine.protocol import Machine

SCRIPT = Path(__file__).with_name("engine_bench.sh")

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "iq4_nl", "q4_1", "q4_0")
FLASH_ATTENTION = {"on": 1, "off": 0, "auto": -1}
"""What is asked for, and how the engine's JSON says it."""

GRACE_S = 15.0
"""Seconds beside the benchmark itself, for the shell around it and the login."""

FORMULA = (
    "tokens of the test / its wall-clock seconds, by the engine's clock; the fill up to depth is not timed"
)


@dataclass(frozen=True)
class EngineTest:
    """One point to measure.

    `decode` generates `tokens` one by one behind `depth` tokens of context; `prefill` reads `tokens` at once
    behind `depth`. None is what the appliance chose (threads: decode and prefill have each their own) or, for
    `batch` and `micro_batch`, the benchmark's default. A quantized `kv_v` needs flash attention.
    """

    kind: Literal["decode", "prefill"]
    tokens: int
    depth: int = 0
    threads: int | None = None
    kv_k: str = "f16"
    kv_v: str = "f16"
    flash_attention: Literal["on", "off", "auto"] = "auto"
    batch: int | None = None
    micro_batch: int | None = None


@dataclass(frozen=True)
class EngineRun:
    """What came out: tok/s and seconds of each repetition, what it ran with, and doubts in sentences."""

    test: EngineTest
    speeds: tuple[float, ...]
    seconds: tuple[float, ...]
    threads: int
    facts: Mapping[str, str | int]
    doubts: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The name of the metric that `speeds` are samples of."""
        return f"{self.test.kind}_speed"

    @property
    def labels(self) -> dict[str, str | int | float]:
        """The axes of that metric."""
        test = self.test
        return {
            "path": "llama-bench",
            **({"prompt_tokens": test.tokens} if test.kind == "prefill" else {}),
            "depth": test.depth,
            "threads": self.threads,
            "kv": test.kv_k if test.kv_k == test.kv_v else f"{test.kv_k}/{test.kv_v}",
            "flash_attention": test.flash_attention,
            **({} if test.batch is None else {"batch": test.batch}),
            **({} if test.micro_batch is None else {"micro_batch": test.micro_batch}),
        }


def engine_bench(
    machine: Machine,
    test: EngineTest,
    *,
    repetitions: int = 1,
    warm_up: bool = True,
    timeout_s: float = 600.0,
) -> EngineRun:
    """Measure one point in the guest, `repetitions` times in one process.

    `warm_up` runs it once before without timing it: a token for decode, for prefill the whole prompt.

    Raises:
        HarnessError: a test nobody can run, or the benchmark failed; the message is its last line.
        DeadlineExceeded: not done after `timeout_s`; nothing of it runs on in the guest.
    """
    words = [str(int(timeout_s)), str(test.threads or test.kind)]
    words += bench_arguments(test, repetitions=repetitions, warm_up=warm_up)
    # The script is read whole before it runs: what it starts would else read on in it.
    command = f'bash -c "$(cat)" engine-bench {shlex.join(words)}'
    result = machine.run(command, timeout=timeout_s + GRACE_S, input=SCRIPT.read_bytes())
    if result.exit_status != 0:
        if result.seconds >= timeout_s:  # systemd has ended it in the guest
            raise DeadlineExceeded("the engine's benchmark in the guest", timeout_s)
        said = [line for line in result.stderr.splitlines() if line.strip()]
        reason = said[-1].strip()[:300] if said else f"status {result.exit_status}"
        raise HarnessError(f"the engine's benchmark failed in the guest: {reason}")
    return parse_bench(test, repetitions, result.stdout, result.stderr)


def bench_arguments(test: EngineTest, *, repetitions: int, warm_up: bool) -> list[str]:
    """The benchmark's arguments for a test, beside model, threads and output. Raises HarnessError."""
    for name, value, least in (
        ("tokens", test.tokens, 1),
        ("depth", test.depth, 0),
        ("threads", test.threads, 1),
        ("batch", test.batch, 1),
        ("micro_batch", test.micro_batch, 1),
        ("repetitions", repetitions, 1),
    ):
        if value is not None and value < least:
            raise HarnessError(f"{name} of a benchmark must be at least {least}, not {value}")
    for kv in (test.kv_k, test.kv_v):
        if kv not in KV_TYPES:
            raise HarnessError(f"unknown KV cache type {kv!r}", hint=f"accepted are {', '.join(KV_TYPES)}")
    if test.kv_v not in ("f32", "f16", "bf16") and test.flash_attention == "off":
        raise HarnessError(f"V values as {test.kv_v} need flash attention, which is off in this test")
    prompt, generated = (0, test.tokens) if test.kind == "decode" else (test.tokens, 0)
    # fmt: off
    return [
        "--n-prompt", str(prompt), "--n-gen", str(generated), "--n-depth", str(test.depth),
        "--cache-type-k", test.kv_k, "--cache-type-v", test.kv_v,
        "--flash-attn", test.flash_attention, "--repetitions", str(repetitions),
        *([] if test.batch is None else ["--batch-size", str(test.batch)]),
        *([] if test.micro_batch is None else ["--ubatch-size", str(test.micro_batch)]),
        *([] if warm_up else ["--no-warmup"]),
    ]
    # fmt: on


def parse_bench(test: EngineTest, repetitions: int, output: str, log: str) -> EngineRun:
    """Read the benchmark's JSON, and on its log what the engine beside it did.

    Raises HarnessError where the JSON is not of this test: then something else was measured.
    """
    try:
        found = json.loads(output)
        (entry,) = found
        nanoseconds = [int(one) for one in entry["samples_ns"]]
        speeds = tuple(float(one) for one in entry["samples_ts"])
        threads = int(entry["n_threads"])
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"the engine's benchmark printed no result that can be read: {error!r:.200}"
        ) from None
    if wrong := _differences(test, entry):
        raise HarnessError(f"the engine's benchmark measured something else: {', '.join(wrong)}")
    if len(speeds) != repetitions or len(nanoseconds) != repetitions or min(nanoseconds) <= 0:
        raise HarnessError(f"the engine's benchmark has {len(speeds)} samples, not {repetitions}")
    facts: dict[str, str | int] = {
        "cpu_variant": _first(r"libggml-cpu-([a-z0-9_]+)\.so", log),
        "build": str(entry.get("build_commit", "")),
        "model_type": str(entry.get("model_type", "")),
        "model_bytes": int(entry.get("model_size", 0)),
        "batch": int(entry.get("n_batch", 0)),
        "micro_batch": int(entry.get("n_ubatch", 0)),
    }
    return EngineRun(
        test=test,
        speeds=speeds,
        seconds=tuple(one / 1e9 for one in nanoseconds),
        threads=threads,
        facts={name: value for name, value in facts.items() if value not in ("", 0)},
        doubts=_engine_doubts(log),
    )


def _differences(test: EngineTest, entry: Mapping[str, Any]) -> list[str]:
    prompt, generated = (0, test.tokens) if test.kind == "decode" else (test.tokens, 0)
    wanted = {
        "n_prompt": prompt,
        "n_gen": generated,
        "n_depth": test.depth,
        "type_k": test.kv_k,
        "type_v": test.kv_v,
        "flash_attn": FLASH_ATTENTION[test.flash_attention],
        "n_threads": test.threads,
        "n_batch": test.batch,
        "n_ubatch": test.micro_batch,
    }
    return [
        f"{name} {entry.get(name)!r} instead of {value!r}"
        for name, value in wanted.items()
        if value is not None and entry.get(name) != value
    ]


def _engine_doubts(log: str) -> tuple[str, ...]:
    before, after = (_first(rf"^slm-bench: {when}: (.*)$", log).split() for when in ("before", "after"))
    if not before or not after:
        return ("whether the engine had work beside its benchmark is not known",)
    if "busy" in (before[0], after[0]) or before[1:] != after[1:]:
        return ("the engine answered requests while its benchmark ran",)
    return ()


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else ""
