"""Does the model with the wanted context fit the machine: the GGUF header, the arithmetic, the refusals."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import pytest
from bash_guest import Guest
from gguf_file import CODING_MODEL, CODING_MODEL_BYTES, SMALL_MODEL, Value, write_gguf

MODEL = "/opt/slm-copilot/models/model.gguf"
SHAPE = "/opt/slm-copilot/models/model.gguf.shape"
CHECK = "load_flavor; validate_parameters; resolve_model; check_capacity"


def shape(guest: Guest) -> tuple[int, int]:
    """Bytes a token and trained tokens, read anew."""
    guest.path(SHAPE).unlink(missing_ok=True)
    script = 'read_model_shape "$SLM_MODELS_DIR/model.gguf"; echo "$MODEL_TOKEN_BYTES $MODEL_TRAINED_TOKENS"'
    per_token, trained = guest.run(script).stdout.split()
    return int(per_token), int(trained)


def memory(guest: Guest, gib: float) -> None:
    guest.write("/proc/meminfo", f"MemTotal:       {round(gib * 1024**2)} kB\nMemFree:  1 kB\n")


def coding_model(guest: Guest) -> None:
    write_gguf(guest.path(MODEL), CODING_MODEL, size=CODING_MODEL_BYTES)


def check(guest: Guest, tokens: int | None = None) -> list[str]:
    """What check_capacity says, one line each; nothing when everything fits."""
    given = {} if tokens is None else {"ONEAPP_SLM_CONTEXT_SIZE": str(tokens)}
    guest.path("/run/slm-copilot/failure").unlink(missing_ok=True)
    result = guest.run(CHECK, check=False, **given)
    said = result.stderr.splitlines()
    assert result.returncode == (1 if any("ERROR" in line for line in said) else 0), result.stderr
    return said


# ---- the header ----


def without(*keys: str) -> dict[str, Value]:
    return {key: value for key, value in SMALL_MODEL.items() if key not in keys}


HEADERS: dict[str, tuple[Mapping[str, Value], tuple[int, int]]] = {
    "heads as one number": (SMALL_MODEL, (23040, 8192)),
    "head sizes of its own": (CODING_MODEL, (160 * 1024, 393216)),
    "a number of heads for each layer": (
        {**SMALL_MODEL, "llama.attention.head_count_kv": [3] * 10 + [0] * 10 + [9] * 10},
        (10 * 3 * 256 + 10 * 9 * 256, 8192),
    ),
    "as many key heads as heads": (without("llama.attention.head_count_kv"), (30 * 9 * 256, 8192)),
    "keys and values of different size": (
        {**SMALL_MODEL, "llama.attention.key_length": 192, "llama.attention.value_length": 128},
        (30 * 3 * (192 + 128) * 2, 8192),
    ),
    "the model's keys after the tokenizer's": (
        dict(sorted(SMALL_MODEL.items(), key=lambda item: item[0].startswith("llama."))),
        (23040, 8192),
    ),
    "one key after the tokenizer's": (
        {**SMALL_MODEL, "llama.attention.key_length": 128},
        (30 * 3 * (128 + 64) * 2, 8192),
    ),
    "long words and arrays before the model's keys": (
        {"general.architecture": "llama", "general.text": "x" * 70_000, "general.list": ["y" * 500] * 900}
        | {"general.numbers": list(range(9000)), "general.flag": True}
        | {key: value for key, value in SMALL_MODEL.items() if key.startswith("llama.")},
        (23040, 8192),
    ),
    "keys of another architecture": ({**SMALL_MODEL, "clip.block_count": 99}, (23040, 8192)),
    "no attention at all": (
        without("llama.attention.head_count", "llama.attention.head_count_kv"),
        (0, 8192),
    ),
    "no trained length": (without("llama.context_length"), (23040, 0)),
}


@pytest.mark.parametrize("header", HEADERS)
def test_the_shape_is_read_from_a_header_with(guest: Guest, header: str) -> None:
    content, expected = HEADERS[header]
    write_gguf(guest.path(MODEL), content, size=100_000)
    assert shape(guest) == expected


@pytest.mark.parametrize("damage", ["cut", "version 1", "no GGUF", "endless word", "endless list", "empty"])
def test_a_broken_header_is_no_shape_and_no_hang(guest: Guest, damage: str) -> None:
    path = write_gguf(guest.path(MODEL), SMALL_MODEL, version=1 if damage == "version 1" else 3)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:60])
    elif damage == "no GGUF":
        path.write_bytes(b"PK\3\4" + content[4:])
    elif damage == "endless word":
        path.write_bytes(content[:24] + b"\xff" * 8 + content[32:])
    elif damage == "endless list":
        path.write_bytes(
            content.replace(
                b"head_count_kv\4\0\0\0\3\0\0\0", b"head_count_kv\x09\0\0\0\4\0\0\0" + b"\xff" * 8
            )
        )
    elif damage == "empty":
        path.write_bytes(b"")
    started = time.monotonic()
    per_token, _ = shape(guest)
    assert per_token == 0
    assert time.monotonic() - started < 5


def test_the_shape_is_kept_beside_the_model_until_the_model_changes(guest: Guest) -> None:
    assert shape(guest) == (23040, 8192)
    guest.path(SHAPE).write_text(guest.path(SHAPE).read_text().replace("23040", "11111"))
    read = 'read_model_shape "$SLM_MODELS_DIR/model.gguf"; echo "$MODEL_TOKEN_BYTES"'
    assert guest.run(read).stdout == "11111\n", "it was read again"
    write_gguf(guest.path(MODEL), CODING_MODEL, size=5000)
    assert guest.run(read).stdout == f"{160 * 1024}\n", "an old shape was taken for a new model's"
    guest.path(SHAPE).write_text("nonsense $(id) 5\n")
    assert guest.run(read).stdout == f"{160 * 1024}\n"
    assert oct(guest.path(SHAPE).stat().st_mode & 0o777) == "0o644"


# ---- the arithmetic ----


@pytest.mark.parametrize(("gib", "tokens"), [(24, 8192), (24, 16384), (32, 32768), (64, 131072)])
def test_what_the_sizing_table_promises_fits(guest: Guest, gib: float, tokens: int) -> None:
    coding_model(guest)
    memory(guest, gib * 0.98)  # the kernel keeps a part for itself
    assert check(guest, tokens) == []


CACHE = {  # GiB of memory, tokens of context -> MiB for the prompts of waiting clients
    "as much as is left": ((24, 8192), 4196),
    "eight full contexts": ((64, 8192), 10240),
    "512 MiB and what a last token leaves": ((24, 31488), 550),
    "512 MiB where the machine doesn't tell": ((0, 8192), 512),
}


@pytest.mark.parametrize("case", CACHE)
def test_the_prompt_cache_gets(guest: Guest, case: str) -> None:
    (gib, tokens), mib = CACHE[case]
    coding_model(guest)
    memory(guest, gib)
    script = CHECK + '; engine_configure; grep CACHE_RAM "$SLM_ENGINE_ENV"'
    told = guest.run(script, ONEAPP_SLM_CONTEXT_SIZE=str(tokens)).stdout
    assert told.splitlines()[-1] == f"LLAMA_ARG_CACHE_RAM={mib}"


def test_32768_tokens_in_24_gib_are_refused_with_the_arithmetic(guest: Guest) -> None:
    coding_model(guest)
    memory(guest, 24)
    [line] = check(guest, 32768)
    assert line.partition("ERROR: ")[2] == (
        "ONEAPP_SLM_CONTEXT_SIZE: 32768 tokens do not fit: 13.3 GiB for the model + 5.0 GiB for 32768 tokens "
        "of context + 128 MiB for the engine + 512 MiB for its prompt cache + 384 MiB for the system + 4.8 "
        "GiB kept free = 24.2 GiB of 24.0 GiB; at most 31488 tokens fit here, or give the VM 26 GiB"
    )
    [console] = run_stage(guest, 32768)
    assert console.endswith("or give the VM 26 GiB"), "the console's line is cut off"


def run_stage(guest: Guest, tokens: int) -> list[str]:
    guest.configure(check=False, ONEAPP_SLM_CONTEXT_SIZE=str(tokens))
    return guest.console()


def test_what_the_refusal_offers_is_accepted_and_no_more(guest: Guest) -> None:
    coding_model(guest)
    for gib in (20, 24, 31.3):
        memory(guest, gib)
        [line] = check(guest, 262144)
        most = int(line.partition("at most ")[2].split()[0])
        enough = int(line.rpartition("give the VM ")[2].split()[0])
        assert check(guest, most) == []
        assert len(check(guest, most + 256)) == 1
        memory(guest, enough * 0.97)
        assert check(guest, 262144) == []


def test_too_little_memory_for_any_context_says_what_the_model_needs(guest: Guest) -> None:
    coding_model(guest)
    memory(guest, 8)
    [line] = check(guest)
    assert "ERROR: this VM has 8.0 GiB of memory, the model alone needs 13.3 GiB for the model + " in line
    assert line.endswith("; give the VM 19 GiB")
    memory(guest, 19 * 0.97)
    assert check(guest, 512) == []


@pytest.mark.parametrize(
    ("own", "file", "limit"),
    [
        ("0::/x.service\n", "x.service/memory.max", str(512 * 1024**2)),
        ("0::/a.slice/x.service\n", "a.slice/memory.max", str(512 * 1024**2)),
        ("4:memory:/x\n0::/\n", "memory/x/memory.limit_in_bytes", str(512 * 1024**2)),
        ("4:memory:/x\n0::/\n", "memory/memory.limit_in_bytes", str(512 * 1024**2)),
    ],
)
def test_the_limit_of_a_control_group_is_the_machines_memory(
    guest: Guest, own: str, file: str, limit: str
) -> None:
    guest.write("/proc/self/cgroup", own)
    guest.path("/sys/fs/cgroup/memory/x").mkdir(parents=True)
    guest.path("/sys/fs/cgroup/a.slice/x.service").mkdir(parents=True)
    guest.write(f"/sys/fs/cgroup/{file}", limit + "\n")
    memory(guest, 24)
    assert guest.run("machine_memory_kib").stdout == f"{512 * 1024}\n"


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "99999999999999999999999", "", "-1"])
def test_no_limit_is_no_limit(guest: Guest, limit: str) -> None:
    guest.write("/proc/self/cgroup", "0::/x\n")
    guest.write("/sys/fs/cgroup/x/memory.max", limit + "\n")
    memory(guest, 24)
    assert guest.run("machine_memory_kib").stdout == f"{24 * 1024**2}\n"


def test_what_cannot_be_known_is_a_warning(guest: Guest) -> None:
    guest.path("/proc/meminfo").unlink()
    assert ["is not checked" in line for line in check(guest)] == [True]
    memory(guest, 2)
    write_gguf(guest.path(MODEL), {"general.architecture": "strange"}, size=100_000)
    assert ["only the model itself is checked" in line for line in check(guest)] == [True]
    write_gguf(guest.path(MODEL), {"general.architecture": "strange"}, size=4 * 1024**3)
    assert "the model alone needs 4.0 GiB for the model" in check(guest)[-1]


# ---- the window the model was trained for ----


def test_more_than_the_trained_window_is_shared_and_said(guest: Guest) -> None:
    memory(guest, 8)
    assert check(guest, 8192) == []
    [line] = check(guest, 32768)
    assert "WARNING: ONEAPP_SLM_CONTEXT_SIZE: the model was trained for 8192 tokens" in line


def test_more_than_all_clients_together_can_use_is_refused(guest: Guest) -> None:
    memory(guest, 24)
    [line] = check(guest, 32769)
    assert line.endswith("accepted here: at most 32768")
    assert "ERROR: ONEAPP_SLM_CONTEXT_SIZE: 32769 tokens are of no use" in line


def test_nothing_is_written_when_it_does_not_fit(guest: Guest) -> None:
    memory(guest, 1)
    assert guest.configure(check=False).returncode != 0
    assert not guest.path("/etc/slm-copilot").exists()
    assert not guest.path("/etc/ssl/slm-copilot").exists()


def test_reading_a_header_starts_few_programs(guest: Guest) -> None:
    """An emulated machine takes 50 ms and more for each."""
    log = guest.path("/started.log")
    for program in ("od", "awk", "sed", "grep", "head", "stat", "cat"):
        guest.stub(program, f'#!/bin/bash\nPATH=${{PATH#*:}}\necho {program} >>{log}\nexec {program} "$@"\n')
    shape(guest)
    assert len(log.read_text().split()) <= 12
    os.truncate(log, 0)
    guest.run('read_model_shape "$SLM_MODELS_DIR/model.gguf"')
    assert log.read_text().split() == ["stat"]
