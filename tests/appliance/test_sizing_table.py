"""The contexts and memory that the product promises, judged by the appliance from the model's own header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bash_guest import Guest
from gguf_file import CODING_MODEL_BYTES

from harness.image.artifacts import load_artifacts
from harness.image.flavor import load_flavor
from harness.memory_for_programs import programs_kib
from harness.sizing.gguf_header import header_of
from harness.sizing.memory import token_bytes
from harness.sizing.shapes import find_model
from harness.strict_yaml import read_yaml

TABLE: dict[str, list[dict[str, Any]]] = read_yaml(Path(__file__).with_name("sizing_table.yaml"))
DEVSTRAL = find_model("devstral-24b-q4km")

CHECK = "load_flavor; validate_parameters; resolve_model; check_capacity"
# The same, with another type of keys and values than the engine has now.
CHECK_WITH = (
    'load_flavor; validate_parameters; resolve_model; read_model_shape "$SLM_MODEL_PATH"; '
    'MODEL_TOKEN_BYTES={bytes}; check_memory {machine} "${{SLM_VALUE[context_size]}}"'
)


def judge(guest: Guest, row: dict[str, Any]) -> str:
    """What the appliance says of it: nothing when it accepts it."""
    model = guest.path("/opt/slm-copilot/models/model.gguf")
    with model.open("wb") as file:
        file.write(header_of(DEVSTRAL, DEVSTRAL.tensors()))
        file.truncate(CODING_MODEL_BYTES)
    machine = programs_kib(row["gib"] * 1024)
    guest.write("/proc/meminfo", f"MemTotal:       {machine} kB\n")
    given = {} if row["tokens"] == "default" else {"ONEAPP_SLM_CONTEXT_SIZE": str(row["tokens"])}
    script = (
        CHECK
        if row["kv"] == "f16"
        else CHECK_WITH.format(bytes=token_bytes(DEVSTRAL, row["kv"]), machine=machine)
    )
    return guest.run(script, check=False, **given).stderr.strip()


def rows(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "row", TABLE[kind], ids=lambda row: f"{row['gib']} GiB, {row['tokens']} tokens, {row['kv']}"
    )


@rows("promised")
def test_the_appliance_accepts_what_is_promised(guest: Guest, row: dict[str, Any]) -> None:
    assert judge(guest, row) == ""


@rows("refused")
def test_the_appliance_refuses_what_does_not_fit_and_says_what_does(
    guest: Guest, row: dict[str, Any]
) -> None:
    said = judge(guest, row)
    assert "ERROR: " in said
    assert "give the VM " in said
    assert "13.3 GiB for the model" in said


def test_the_table_is_about_the_model_that_is_baked_in() -> None:
    artifact = load_artifacts().download(load_flavor("release").model_artifact)
    assert artifact.wanted.size == CODING_MODEL_BYTES == DEVSTRAL.published
