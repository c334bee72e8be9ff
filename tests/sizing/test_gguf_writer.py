"""The synthetic file: what is in it, that it needs little memory, that nothing of it is left behind."""

from __future__ import annotations

import math
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev

import gguf_reading
import pytest

from harness.errors import HarnessError
from harness.sizing.gguf_writer import kept_path, sweep, synthetic_model
from harness.sizing.quant_blocks import FORMATS, WEIGHT_DEVIATION, random_blocks, tensor_bytes
from harness.sizing.shapes import ModelShape

REPOSITORY = Path(__file__).resolve().parents[2]

# ---- what is in it ----


def test_the_file_has_every_tensor_of_the_shape_where_its_header_says(
    tiny: ModelShape, tmp_path: Path
) -> None:
    with synthetic_model(tiny, tmp_path) as path:
        found = gguf_reading.read(path)
        size = path.stat().st_size
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(found.tensors) == [tensor.name for tensor in tiny.tensors()]
    for tensor in tiny.tensors():
        there = found.tensors[tensor.name]
        expected = (tensor.dimensions, FORMATS[tensor.kind].number, tensor.size)
        assert (there.dimensions, there.number, there.size) == expected
    last = found.tensors["output.weight"]
    assert last.start + last.size <= size < last.start + last.size + 32
    assert {one.number for one in found.tensors.values()} == {0, 12, 14}
    assert found.pairs["general.architecture"] == "qwen2"
    assert found.pairs["qwen2.attention.head_count_kv"] == 2
    assert found.pairs["tokenizer.ggml.model"] == "none"


def test_a_filler_makes_the_file_as_large_as_the_published_one(tiny: ModelShape, tmp_path: Path) -> None:
    published = (tiny.weight_bytes + 40_000) // 32 * 32
    with synthetic_model(replace(tiny, published=published), tmp_path) as path:
        assert path.stat().st_size == published
        assert "blk.2.ffn_down.weight" in gguf_reading.read(path).tensors


def test_norms_are_ones_and_biases_zeros(tiny: ModelShape, tmp_path: Path) -> None:
    with synthetic_model(tiny, tmp_path) as path:
        found, content = gguf_reading.read(path), path.read_bytes()
    for name, value in (("blk.1.attn_norm.weight", 1.0), ("blk.1.attn_k.bias", 0.0)):
        there = found.tensors[name]
        floats = struct.unpack(f"<{there.size // 4}f", content[there.start : there.start + there.size])
        assert set(floats) == {value}


def halves(block: bytes, *places: int) -> list[float]:
    return [struct.unpack_from("<e", block, place)[0] for place in places]


def q4_1(block: bytes) -> Iterator[float]:
    scale, least = halves(block, 0, 2)
    for byte in block[4:]:
        yield from (scale * (byte & 15) + least, scale * (byte >> 4) + least)


def q8_0(block: bytes) -> Iterator[float]:
    [scale] = halves(block, 0)
    yield from (scale * number for number in struct.unpack("<32b", block[2:]))


def q4_k(block: bytes) -> Iterator[float]:
    scale, least = halves(block, 0, 2)
    packed = block[4:16]
    for group in range(8):
        if group < 4:
            factor, minimum = packed[group] & 63, packed[group + 4] & 63
        else:
            factor = (packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4
            minimum = (packed[group + 4] >> 4) | (packed[group] >> 6) << 4
        for byte in block[16 + group // 2 * 32 : 48 + group // 2 * 32]:
            number = byte >> 4 if group % 2 else byte & 15
            yield scale * factor * number - least * minimum


def q6_k(block: bytes) -> Iterator[float]:
    [scale] = halves(block, 208)
    factors = struct.unpack("<16b", block[192:208])
    for half in range(2):
        low, high = block[half * 64 : half * 64 + 64], block[128 + half * 32 : 160 + half * 32]
        for index in range(32):
            for part in range(4):
                nibble = low[index + part % 2 * 32] >> (part // 2 * 4) & 15
                number = (nibble | (high[index] >> (2 * part) & 3) << 4) - 32
                yield scale * factors[half * 8 + part * 2 + index // 16] * number


@pytest.mark.parametrize(("kind", "decode"), [("Q4_1", q4_1), ("Q8_0", q8_0), ("Q4_K", q4_k), ("Q6_K", q6_k)])
def test_random_weights_are_finite_centred_and_as_large_as_real_ones(
    kind: str, decode: Callable[[bytes], Iterator[float]]
) -> None:
    form = FORMATS[kind]
    blocks = random_blocks(form, 16_000, seed=1)
    assert len(blocks) % form.size == 0
    assert blocks == random_blocks(form, 16_000, seed=1)
    assert blocks != random_blocks(form, 16_000, seed=2)
    starts = range(0, len(blocks), form.size)
    weights = [weight for start in starts for weight in decode(blocks[start : start + form.size])]
    assert len(weights) == len(blocks) // form.size * form.elements
    assert all(map(math.isfinite, weights))
    assert pstdev(weights) == pytest.approx(WEIGHT_DEVIATION, rel=0.08)
    assert abs(fmean(weights)) < 0.1 * WEIGHT_DEVIATION


def test_a_tensor_is_a_whole_number_of_blocks() -> None:
    assert tensor_bytes(FORMATS["Q4_K"], 512) == 288
    with pytest.raises(ValueError, match="no whole number of blocks of 256"):
        tensor_bytes(FORMATS["Q4_K"], 300)


# ---- memory ----

MEASURE = """
import os, resource
from harness.sizing import gguf_writer
from harness.sizing.shapes import find_model
shape = find_model("devstral-24b-q4km")
os.fdatasync = lambda descriptor: None  # the sink is no disk
gguf_writer.random_blocks = lambda form, most, seed, make=gguf_writer.random_blocks, made={}: (
    made.setdefault(form, make(form, most, 1)))  # one tile a type: the test needs no other bytes
progress = []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(os.devnull, "wb") as sink:
    gguf_writer.write_model(shape, sink.fileno(), progress.append)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, progress[-1])
"""


def test_24_billion_parameters_are_written_with_little_memory() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    grown_kib, written = map(int, answer.stdout.split())
    assert written > 13.9e9
    assert grown_kib <= 64 * 1024


# ---- nothing is left behind ----

WRITE = """
import signal, sys, time
from dataclasses import replace
from pathlib import Path
from harness.sizing import gguf_writer
from harness.sizing.shapes import find_model
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
gguf_writer._FLUSH_BYTES = 1024 * 1024
def wait(written):
    print("written", flush=True)
    time.sleep(60)
shape = replace(find_model("smollm2-135m-q4_1"), layers=1, vocabulary=4096, published=0)
with gguf_writer.synthetic_model(shape, Path(sys.argv[1]),
                                 on_progress=wait if sys.argv[2] == "writing" else None):
    print("whole", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("when", "number"),
    [("writing", signal.SIGINT), ("writing", signal.SIGKILL), ("whole", signal.SIGTERM)],
)
def test_a_killed_run_leaves_nothing(tmp_path: Path, number: signal.Signals, when: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(tmp_path), when],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == (b"whole\n" if when == "whole" else b"written\n")
        [there] = tmp_path.iterdir()
        assert there.name.startswith(".making-") == (when == "writing")
        sweep(tmp_path)
        assert there.exists(), "another run's sweep took a file that is in use"
        process.send_signal(number)
        process.wait(20)
    if number == signal.SIGKILL:
        assert there.exists()
        sweep(tmp_path)  # what the next run does first
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_the_block_leaves_nothing_and_is_not_hidden(tiny: ModelShape, tmp_path: Path) -> None:
    def fail_inside() -> None:
        with synthetic_model(tiny, tmp_path, keep=True) as path:
            assert path.exists()
            raise HarnessError("the engine failed")

    with pytest.raises(HarnessError, match="the engine failed"):
        fail_inside()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tiny: ModelShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.sizing.gguf_writer.os.write", refuse)
    with (
        pytest.raises(HarnessError, match="No space left on device after 0 bytes"),
        synthetic_model(tiny, tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_kept_when_asked_for(tiny: ModelShape, tmp_path: Path) -> None:
    with synthetic_model(tiny, tmp_path, keep=True):
        assert not kept_path(tiny, tmp_path).exists()
    assert list(tmp_path.iterdir()) == [kept_path(tiny, tmp_path)]
    sweep(tmp_path)
    assert kept_path(tiny, tmp_path).exists()
