"""`slm size-host` with an engine of cardboard, and the real one on a tiny model where the cache has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import measured_sample as sample
import pytest

from harness.cli.main import main
from harness.errors import HarnessError
from harness.image.artifacts import load_artifacts
from harness.image.engine import engine_key
from harness.locations import REPOSITORY, cache_root
from harness.results.model import Results, read_results
from harness.sizing import gguf_writer, measuring, size_host
from harness.sizing.gguf_writer import synthetic_model
from harness.sizing.llama_bench import Question, time_model
from harness.sizing.shapes import ModelShape

# Answers 2 tokens/s with all threads, 1.5 with one, 7 for prompts; the first repetition is slower.
BENCH = r"""#!/usr/bin/env bash
declare -A given
shift # --no-warmup
while (($#)); do given[$1]=$2; shift 2; done
[[ $(stat -c %s "${given[--model]}") == "$FILE_BYTES" ]] || { echo "error: no such model"; exit 1; }
echo "load_backend: loaded CPU backend from /x/libggml-cpu-zen4.so" >&2
speed=2.0
((given[--threads] > 1)) || speed=1.5
((given[--n-prompt] == 0)) || speed=7.0
samples=0.5
for ((i = 1; i < given[--repetitions]; i++)); do samples+=", $speed"; done
printf '{"model_size": %s, "model_n_params": %s, "samples_ts": [%s]}\n' \
  "$WEIGHTS" "${FOUND_PARAMETERS:-$PARAMETERS}" "$samples"
exit "${EXIT_STATUS:-0}"
"""


@dataclass(frozen=True)
class Bench:
    """A machine whose engine is a script; `run` is `slm size-host`."""

    folder: Path
    shape: ModelShape

    def run(self) -> int:
        return main(["size-host", "--model", "tiny", "--minutes", "1"])

    @property
    def left(self) -> list[Path]:
        return list((self.folder / "cache/sizing").iterdir())

    @property
    def results(self) -> Results:
        [run] = (self.folder / "reports").iterdir()
        return read_results(run / "results.json")


def write_engine(folder: Path, script: str) -> Path:
    folder.mkdir()
    (folder / "build-info.json").write_text('{"version": "1.2.3"}')
    program = folder / "llama-bench"
    program.write_text(script)
    program.chmod(0o755)
    return folder


@pytest.fixture
def bench(tiny: ModelShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    shape = replace(tiny, name="Devstral Small 2 24B Q4_K_M", published=tiny.weight_bytes // 32 * 32 + 64_000)
    engine = write_engine(tmp_path / "engine", BENCH)
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SLM_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("FILE_BYTES", str(shape.published))
    monkeypatch.setenv("WEIGHTS", str(shape.weight_bytes))
    monkeypatch.setenv("PARAMETERS", str(shape.parameters))
    monkeypatch.setattr(size_host, "find_model", lambda _: shape)
    monkeypatch.setattr(size_host, "build_engine", lambda: engine)
    monkeypatch.setattr(size_host, "ask_appliance", lambda: sample.APPLIANCE)
    monkeypatch.setattr(measuring, "measure_bandwidth", sample.bandwidth)
    return Bench(tmp_path, shape)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """`main` takes over the signals of the process; the test runner wants its own back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_run_measures_answers_records_and_leaves_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run() == 3
    assert bench.left == []
    printed = capsys.readouterr().out
    assert "reads prompts at 7 tokens/s (95 % interval 7 to 7, n = 5)" in printed
    assert (
        "INCONCLUSIVE: measured, but no target could be judged: minimum: this host has 2 of 8 cores"
        in printed
    )
    results = bench.results
    assert not (bench.folder / "reports/latest").exists()
    [cell] = results.cells
    assert (results.verdict, cell.machine, results.image.engine_version) == ("INCONCLUSIVE", "host", "1.2.3")
    assert cell.guest["answer"] in printed
    assert cell.files == ("size-host/answer.txt", "size-host/llama-bench.log")
    assert cell.conditions["cores"]
    decode = next(metric for metric in cell.metrics if metric.name == "decode_speed")
    assert decode.samples == (2.0,) * 5, "the warm-up was not discarded"
    assert decode.labels == {"path": "llama-bench", "depth": 0, "threads": 2, "kv": "f16"}
    judged = [metric for metric in cell.metrics if metric.verdict]
    assert [metric.labels["profile"] for metric in judged] == ["minimum", "recommended", "optimal"]
    assert {metric.name for metric in cell.metrics} >= {
        "prefill_speed",
        "thread_sweep",
        "ttft",
        "bandwidth",
        "roofline_ceiling",
        "eta",
    }
    assert results.command == "make size-host MODEL=tiny"


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("EXIT_STATUS", "1", "llama-bench failed (setpriv exited with 1)"),
        ("FILE_BYTES", "1", "error: no such model"),
        ("FOUND_PARAMETERS", "5", "the engine found 5 parameters in"),
    ],
)
def test_an_engine_that_fails_is_one_line_and_leaves_nothing(
    bench: Bench,
    variable: str,
    value: str,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert bench.run() == 2
    assert complaint in capsys.readouterr().err
    assert bench.left == []


@pytest.mark.parametrize("place", ["write_model", "measure"])
def test_an_interrupted_run_leaves_nothing(
    bench: Bench, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf_writer if place == "write_model" else size_host, place, interrupted)
    assert bench.run() == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert bench.left == []
    assert list((bench.folder / "reports").iterdir()) == []


def test_without_room_nothing_is_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(size_host, "available_memory_mib", lambda: 600)
    assert bench.run() == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: too little memory: ")
    assert error.endswith("600 MiB are free, 42 MiB short")
    assert hint.startswith("hint: free some")
    assert bench.left == []
    assert not (bench.folder / "reports").exists()


def test_an_unknown_model_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size-host", "--model", "gpt-5"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: unknown model 'gpt-5'"
    assert hint.startswith("hint: known are: devstral-24b-q4km, ")


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "engine", "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(HarnessError, match="longer than 0 s"):
        time_model(engine, tmp_path, Question(1, 5, 64), log=tmp_path / "log", deadline_s=0.1)


DIE = """
import sys
from pathlib import Path
from harness.sizing.llama_bench import Question, time_model
folder = Path(sys.argv[1])
time_model(folder, folder, Question(1, 5, 64), log=folder / "log", deadline_s=60)
"""


def test_the_engine_dies_with_the_run_even_when_that_is_killed(
    tmp_path: Path, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    engine = write_engine(tmp_path / "engine", '#!/bin/sh\necho $$ >"${0%/*}/pid"\nexec sleep 60\n')
    process = subprocess.Popen([sys.executable, "-c", DIE, str(engine)], cwd=REPOSITORY)
    with process:
        wait_until(lambda: (engine / "pid").is_file() and bool((engine / "pid").read_text().strip()))
        bench = int((engine / "pid").read_text())
        process.kill()
    wait_until(lambda: not is_running(bench))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


ENGINE = Path(os.environ.get("SLM_CACHE", "") or cache_root()) / "engines" / engine_key(load_artifacts())


@pytest.mark.skipif(
    not (ENGINE / "llama-bench").is_file(),
    reason="the engine is not built (`slm engine`); `make size-host` needs it as well and shows the same",
)
def test_the_engine_reads_the_model_that_was_meant(tiny: ModelShape, tmp_path: Path) -> None:
    with synthetic_model(tiny, tmp_path) as model:
        decode = time_model(
            ENGINE, model, Question(1, 2, 64, generate=2), log=tmp_path / "log", deadline_s=120
        )
    assert (decode.model_bytes, decode.parameters) == (tiny.weight_bytes, tiny.parameters)
    assert len(decode.tokens_per_s) == 2
    assert min(decode.tokens_per_s) > 0
    assert decode.variant
