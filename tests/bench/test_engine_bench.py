"""llama-bench in the guest: what is asked, what is believed, what is refused."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.bench.engine_bench import SCRIPT, EngineRun, EngineTest, bench_arguments, engine_bench
from harness.deadline import DeadlineExceeded
from harness.errors import HarnessError
from harness.machine.protocol import CommandResult, Machine

LOG = """\
slm-bench: before: idle 3 17 4
load_backend: loaded CPU backend from /opt/slm-copilot/engine/libggml-cpu-zen4.so
slm-bench: after: idle 3 17 4
"""


def entry(**changes: Any) -> dict[str, Any]:
    """One object of llama-bench's JSON, as version 0.3.36 of its package prints it."""
    return {
        "build_commit": "llama_cpp_python-0.3.36",
        "model_type": "llama 256M Q4_1",
        "model_size": 96576768,
        "n_batch": 2048,
        "n_ubatch": 512,
        "n_threads": 2,
        "type_k": "f16",
        "type_v": "f16",
        "flash_attn": -1,
        "n_prompt": 0,
        "n_gen": 8,
        "n_depth": 0,
        "avg_ts": 62.0,
        "samples_ns": [132226822, 125627280],
        "samples_ts": [60.5021, 63.6804],
        **changes,
    }


class Guest:
    """Answers with what it was given and remembers what it was asked."""

    def __init__(self, output: str, log: str = LOG, status: int = 0) -> None:
        self.result = CommandResult("", status, output, log, 1.0)
        self.asked: list[tuple[str, float, bytes]] = []

    def run(self, command: str, *, timeout: float, input: bytes) -> CommandResult:
        self.asked.append((command, timeout, input))
        return self.result


def bench(guest: Guest, test: EngineTest, **options: Any) -> EngineRun:
    return engine_bench(cast(Machine, guest), test, repetitions=2, **options)


def test_every_repetition_is_a_sample() -> None:
    guest = Guest(json.dumps([entry()]))
    run = bench(guest, EngineTest("decode", 8), timeout_s=30)
    assert run.speeds == (60.5021, 63.6804)
    assert run.seconds == pytest.approx((0.132226822, 0.125627280))
    assert (run.threads, run.metric, run.doubts) == (2, "decode_speed", ())
    assert run.facts == {
        "cpu_variant": "zen4",
        "build": "llama_cpp_python-0.3.36",
        "model_type": "llama 256M Q4_1",
        "model_bytes": 96576768,
        "batch": 2048,
        "micro_batch": 512,
    }
    assert run.labels == {
        "path": "llama-bench",
        "depth": 0,
        "threads": 2,
        "kv": "f16",
        "flash_attention": "auto",
    }
    ((command, timeout, script),) = guest.asked
    assert shlex.split(command)[4:6] == ["30", "decode"]
    assert (timeout, script) == (45, SCRIPT.read_bytes())


def test_a_prefill_names_its_prompt_and_its_cache() -> None:
    wanted = EngineTest(
        "prefill", 512, depth=128, threads=1, kv_v="q8_0", flash_attention="on", batch=64, micro_batch=32
    )
    said = entry(
        n_prompt=512, n_gen=0, n_depth=128, n_threads=1, type_v="q8_0", flash_attn=1, n_batch=64, n_ubatch=32
    )
    guest = Guest(json.dumps([said]))
    assert bench(guest, wanted).labels == {
        "path": "llama-bench",
        "prompt_tokens": 512,
        "depth": 128,
        "threads": 1,
        "kv": "f16/q8_0",
        "flash_attention": "on",
        "batch": 64,
        "micro_batch": 32,
    }
    assert shlex.split(guest.asked[0][0])[4:6] == ["600", "1"]


def test_arguments() -> None:
    assert bench_arguments(EngineTest("prefill", 64), repetitions=3, warm_up=False) == [
        *("--n-prompt", "64", "--n-gen", "0", "--n-depth", "0"),
        *("--cache-type-k", "f16", "--cache-type-v", "f16", "--flash-attn", "auto"),
        *("--repetitions", "3", "--no-warmup"),
    ]
    assert bench_arguments(EngineTest("decode", 8), repetitions=1, warm_up=True)[:4] == [
        *("--n-prompt", "0", "--n-gen", "8"),
    ]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (EngineTest("decode", 0), "tokens of a benchmark must be at least 1, not 0"),
        (EngineTest("decode", 1, depth=-1), "depth of a benchmark must be at least 0"),
        (EngineTest("decode", 1, threads=0), "threads of a benchmark must be at least 1"),
        (EngineTest("decode", 1, kv_k="f16; rm"), "unknown KV cache type 'f16; rm'"),
        (
            EngineTest("decode", 1, kv_v="q8_0", flash_attention="off"),
            "V values as q8_0 need flash attention",
        ),
    ],
)
def test_a_test_nobody_can_run_is_refused(test: EngineTest, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        bench(Guest("[]"), test)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "no result that can be read"),
        ("[]", "no result that can be read"),
        (json.dumps([entry(), entry()]), "no result that can be read"),
        (json.dumps([entry(n_gen=16)]), "something else: n_gen 16 instead of 8"),
        (json.dumps([entry(type_k="q8_0")]), "something else: type_k 'q8_0' instead of 'f16'"),
        (json.dumps([entry(samples_ts=[60.0])]), "has 1 samples, not 2"),
    ],
)
def test_another_result_than_the_one_asked_for_is_no_result(output: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        bench(Guest(output), EngineTest("decode", 8))


def test_a_failed_benchmark_says_its_last_line() -> None:
    guest = Guest("", LOG + "error: failed to create context with model\n\n", status=1)
    with pytest.raises(
        HarnessError, match=r"failed in the guest: error: failed to create context with model$"
    ):
        bench(guest, EngineTest("decode", 8))


def test_a_benchmark_that_was_ended_by_its_time_is_no_defect() -> None:
    guest = Guest("", LOG, status=1)
    with pytest.raises(DeadlineExceeded, match="the engine's benchmark in the guest"):
        bench(guest, EngineTest("decode", 8), timeout_s=1)


@pytest.mark.parametrize(
    ("log", "doubt"),
    [
        (LOG.replace("before: idle", "before: busy"), "the engine answered requests while its benchmark ran"),
        (LOG.replace("after: idle 3 17 4", "after: idle 3 19 4"), "the engine answered requests"),
        ("", "whether the engine had work beside its benchmark is not known"),
    ],
)
def test_an_engine_that_had_work_is_a_doubt(log: str, doubt: str) -> None:
    (found,) = bench(Guest(json.dumps([entry()]), log), EngineTest("decode", 8)).doubts
    assert found.startswith(doubt)


SYSTEMCTL = """#!/bin/bash
printf '%s\\n' CPUAffinity=0-1 'CPUWeight=[not set]' Environment= MemoryMax=infinity LimitMEMLOCK=infinity \\
  User=slm-engine Group=slm-engine >"$TOLD"
for asked in "${@:2}"; do
  case $asked in --property=*) grep "^${asked#--property=}=" "$TOLD" ;; esac
done
exit 0
"""
SYSTEMD_RUN = """#!/bin/bash
printf '%s\\n' "$@" >"$CALLED"
while [[ $1 == --* ]]; do
  case $1 in --setenv=*=*) export "${1#--setenv=}" ;; esac
  shift
done
exec "$@"
"""


def test_the_script_runs_the_benchmark_as_the_engine_would_run(tmp_path: Path) -> None:
    """In a small appliance of its own: same files, other contents."""
    lib = tmp_path / "appliance" / "lib"
    lib.mkdir(parents=True)
    for name in ("paths", "failure", "atomic", "pending", "units", "flavor", "model"):
        (lib / f"{name}.sh").touch()
    (lib / "flavor.sh").write_text(
        "load_flavor() { :; }\nengine_progress() { echo idle 1; }\n"
        'engine_bench() { echo "threads $SLM_THREADS on $SLM_MODEL_PATH: $*"; }\n'
    )
    (lib / "model.sh").write_text("resolve_model() { SLM_MODEL_PATH=/m; }\n")
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
        (fakes / name).write_text(text)
        (fakes / name).chmod(0o755)
    (tmp_path / "engine.env").write_text("SLM_THREADS_BATCH=7\n")
    (tmp_path / "config").write_text("[engine]\nthreads=3\n")
    script = SCRIPT.read_text()
    for there, here in (
        ("/opt/slm-copilot/appliance", tmp_path / "appliance"),
        ("/etc/slm-copilot/engine.env", tmp_path / "engine.env"),
        ("/etc/one-appliance/config", tmp_path / "config"),
    ):
        script = script.replace(there, str(here))
    called = tmp_path / "called"

    def run(threads: str) -> SimpleNamespace:
        done = subprocess.run(
            ["bash", "-c", script, "engine-bench", "60", threads, "--n-gen", "8"],
            env={"PATH": f"{fakes}:/usr/bin:/bin", "CALLED": str(called), "TOLD": str(tmp_path / "told")},
            capture_output=True,
            text=True,
            check=False,
        )
        return SimpleNamespace(out=done.stdout, err=done.stderr, arguments=called.read_text().split("\n"))

    decode = run("decode")
    assert decode.err == "slm-bench: before: idle 1\nslm-bench: after: idle 1\n"
    assert decode.out == "threads 3 on /m: --n-gen 8\n"
    properties = [one for one in decode.arguments if one.startswith("--property=")]
    assert properties == [
        "--property=RuntimeMaxSec=60",
        "--property=CPUAffinity=0-1",
        "--property=LimitMEMLOCK=infinity",
        "--property=User=slm-engine",
        "--property=Group=slm-engine",
    ]
    assert "--setenv=SLM_THREADS=3" in decode.arguments
    assert "--setenv=SLM_THREADS=7" in run("prefill").arguments
    assert "--setenv=SLM_THREADS=5" in run("5").arguments
