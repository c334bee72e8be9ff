"""What fits where: the same answers as the appliance's, and refusals with the arithmetic."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.memory_for_programs import programs_kib
from harness.profiles import Profile, find_profile
from harness.sizing.appliance_rules import APPLIANCE, Appliance, ask_appliance
from harness.sizing.gguf_header import header_of
from harness.sizing.memory import carried, fits, largest_context, model_kib, token_bytes
from harness.sizing.room import disk_need, memory_need, refuse_without_room
from harness.sizing.shapes import ModelShape, find_model

DEVSTRAL = find_model("devstral-24b-q4km")
SMALL = find_model("smollm2-135m-q4_1")


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Appliance:
    """The appliance's answers on a machine of 4 CPUs on 2 cores with 24 GiB."""
    root = tmp_path_factory.mktemp("root")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text("Cpus_allowed_list:\t0-1\n")
    (root / "proc/meminfo").write_text(f"MemTotal:  {24 * 1024**2} kB\n")
    return ask_appliance(root)


def test_threads_and_memory_are_those_the_appliance_would_take(appliance: Appliance) -> None:
    assert appliance.prefill_threads <= 2
    assert 1 <= appliance.decode_threads <= 2
    assert appliance.memory_kib == 24 * 1024**2
    assert appliance.default_context > appliance.smallest_context > 0


def test_a_token_of_context_costs_what_the_appliance_reads_from_the_header(tmp_path: Path) -> None:
    paths = {}
    for shape in (DEVSTRAL, SMALL):
        paths[shape.key] = tmp_path / f"{shape.key}.gguf"
        paths[shape.key].write_bytes(header_of(shape, shape.tensors()))
    script = '. "$1/lib/gguf.sh"; shift; for file; do gguf_shape "$file"; done'
    told = subprocess.run(
        ["bash", "-c", script, "bash", str(APPLIANCE), *map(str, paths.values())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == [
        f"{token_bytes(shape, 'f16')} {shape.context}" for shape in (DEVSTRAL, SMALL)
    ]
    assert token_bytes(DEVSTRAL, "f16") == 160 * 1024
    assert token_bytes(DEVSTRAL, "q8_0") == 85 * 1024


# Prints "yes" or "no" for each line "MODEL_KIB TOKEN_BYTES MACHINE_KIB TOKENS" as check_memory judges it.
JUDGE = """
for file in paths capacity parameter_table; do . "$SLM_APPLIANCE_DIR/lib/$file.sh"; done
. "$SLM_APPLIANCE_DIR/engines/llama-server.sh"
fail() { return 1; }
in_units() { :; }
memory_sum() { :; }
enough_gib() { :; }
while read -r MODEL_KIB MODEL_TOKEN_BYTES machine tokens; do
  if check_memory "$machine" "$tokens"; then echo yes; else echo no; fi
done
"""


def judged_by_the_appliance(cases: list[tuple[int, int, int, int]]) -> list[str]:
    answer = subprocess.run(
        ["bash", "-c", JUDGE],
        env={"PATH": os.environ["PATH"], "SLM_APPLIANCE_DIR": str(APPLIANCE)},
        input="".join(f"{' '.join(map(str, case))}\n" for case in cases),
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.split()


def test_the_appliance_accepts_the_largest_context_and_none_beyond(appliance: Appliance) -> None:
    cases, ours = [], []
    for shape in (replace(DEVSTRAL, context=10**7), replace(SMALL, context=10**7)):
        for machine in (programs_kib(2 * 1024), programs_kib(20 * 1024), 33_000_001):
            most = largest_context(shape, "f16", machine, appliance.reserves)
            for tokens in (512, most, most + 256):
                if tokens > 0:
                    cases.append((model_kib(shape), token_bytes(shape, "f16"), machine, tokens))
                    fit = fits(shape, "f16", tokens, machine, appliance.reserves)
                    ours.append("yes" if fit else "no")
            assert most <= 0 or fits(shape, "f16", most, machine, appliance.reserves)
            assert not fits(shape, "f16", max(most, 0) + 256, machine, appliance.reserves)
    assert judged_by_the_appliance(cases) == ours
    assert {"yes", "no"} == set(ours)


def test_no_context_is_larger_than_what_the_model_was_trained_for(appliance: Appliance) -> None:
    assert largest_context(SMALL, "f16", programs_kib(64 * 1024), appliance.reserves) == SMALL.context


def test_a_model_that_does_not_fit_has_no_context(appliance: Appliance) -> None:
    ci = carried(DEVSTRAL, find_profile("ci"), appliance.reserves, smallest=512, cores=2, memory_kib=10**8)
    assert ci.contexts == {"f16": 0, "q8_0": 0}
    assert not ci.runs_here


@pytest.mark.parametrize(
    ("cores", "gib", "lacking"),
    [
        (8, 24.0, ""),
        (8, 23.5, ""),  # what the kernel of a machine of 24 GiB leaves
        (2, 24.0, "this host has 2 of 8 cores"),
        (8, 16.0, "this host has 16.0 of 24 GiB"),
        (2, 16.0, "this host has 2 of 8 cores and 16.0 of 24 GiB"),
    ],
)
def test_a_host_carries_a_profile_when_it_has_its_cores_and_memory(
    appliance: Appliance, cores: int, gib: float, lacking: str
) -> None:
    profile = Profile("minimum", vcpus=8, ram_mib=24 * 1024, disk_gib=40)
    found = carried(
        DEVSTRAL,
        profile,
        appliance.reserves,
        smallest=512,
        cores=cores,
        memory_kib=round(gib * 1024**2),
    )
    assert (found.lacking, found.runs_here) == (lacking, not lacking)
    assert found.contexts["q8_0"] > 1.8 * found.contexts["f16"] > 0


# ---- refusals ----


def test_too_little_disk_and_memory_are_refused_with_the_arithmetic(
    appliance: Appliance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sizing.room.free_bytes", lambda _: 10 * 1024**3)
    needs = (
        disk_need(DEVSTRAL, tmp_path),
        memory_need(DEVSTRAL, appliance.reserves, tokens=1024, kv="f16", free_kib=12 * 1024**2),
    )
    with pytest.raises(HarnessError) as refused:
        refuse_without_room(needs, "try a smaller one")
    assert refused.value.message == (
        "too little disk: 13.35 GiB for the file of devstral-24b-q4km + 1.00 GiB for a margin = 14.35 GiB of "
        "disk, 10.00 GiB are free, 4.35 GiB short; "
        "too little memory: 13.34 GiB for the weights + 160 MiB for 1024 tokens of context + 128 MiB for the "
        "engine + 512 MiB for a margin = 14.12 GiB of memory, 12.00 GiB are free, 2.12 GiB short"
    )
    assert refused.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_enough_is_not_refused(appliance: Appliance, tiny: ModelShape, tmp_path: Path) -> None:
    needs = (
        disk_need(tiny, tmp_path),
        memory_need(tiny, appliance.reserves, tokens=512, kv="q8_0", free_kib=1024**2),
    )
    refuse_without_room(needs, "")
