"""The bandwidth probe: it runs, its best pass counts, and a real decode finds it out when it is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bandwidth_sample import bandwidth, reading

from harness.bench.bandwidth import (
    _RUN_PROBE,
    Bandwidth,
    check_against_decode,
    combined,
    measure_bandwidth,
    parse_probe,
    thread_steps,
)
from harness.bench.memory_facts import WorkingSet
from harness.bench.probe_program import build_probe
from harness.bench.shell import run_on_host
from harness.errors import HarnessError
from harness.locations import MIB, cache_root

SMALL = 4 * MIB


def measure(**options: object) -> Bandwidth:
    chosen = {"threads": [1], "decode_bytes": SMALL, "kernels": ["sse2"], "rounds": 2, **options}
    return measure_bandwidth(run_on_host, **chosen)  # type: ignore[arg-type]


def test_the_probe_reads_what_it_is_told_to_on_this_host() -> None:
    measured = measure(kernels=["sse2", "sse2-4places-prefetch"])
    assert measured.working_set.bytes == SMALL
    assert {one.kernel for one in measured.readings} == {"sse2", "sse2-4places-prefetch"}
    assert all(len(one.gb_s) == 2 and min(one.gb_s) > 0.1 for one in measured.readings)
    assert all(0 < share <= 1 for one in measured.readings for share in one.cpu_shares)


def test_nothing_of_the_probe_is_left_where_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_CACHE", str(cache_root()))
    monkeypatch.setenv("HOME", str(tmp_path))
    measure()
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_probe_is_there_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever kills it can't leave anything."""
    monkeypatch.setenv("HOME", str(tmp_path))
    script = b'#!/bin/sh\necho "given $1, found $(ls -A "$HOME")"\n'
    answer = run_on_host(_RUN_PROBE % "--bytes", timeout=20, input=script)
    assert (answer.stdout, answer.stderr) == ("given --bytes, found \n", "")


def test_what_the_probe_refuses_is_passed_on_in_one_line() -> None:
    with pytest.raises(HarnessError, match=r"bandwidth probe failed: .*there is no kernel 'sse9'"):
        measure(kernels=["sse9"])
    with pytest.raises(HarnessError, match="2 threads need as many CPUs, --cpus has 1"):
        measure(cpus=[measure().cpus[0]], threads=[2])
    with pytest.raises(HarnessError, match="bandwidth probe may run on the CPUs"):
        measure(cpus=[4095])


def test_a_source_that_does_not_compile_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_CACHE", str(tmp_path))
    source = tmp_path / "broken.c"
    source.write_text("int main(void) { return x; }\n")
    with pytest.raises(HarnessError, match=r"compiling broken\.c: .*error: .x. undeclared"):
        build_probe(source)
    assert list((tmp_path / "instruments").iterdir()) == []


def test_the_best_pass_of_the_best_kernel_is_the_ceiling() -> None:
    measured = replace(
        bandwidth({1: [1]}),
        readings=(
            reading(2, 40, 42, 41, kernel="avx2", pages="small"),
            reading(2, 20, 58, 50, kernel="avx512"),
            reading(1, 30),
        ),
    )
    ceiling = measured.ceiling(2)
    assert (ceiling.low, ceiling.value, ceiling.high, ceiling.n) == (50, 58, 58, 3)
    assert measured.ceiling(2, "small").value == 42
    assert measured.thread_counts == (1, 2)
    with pytest.raises(HarnessError, match="measured with 1, 2 threads, not with 4"):
        measured.ceiling(4)


def test_passes_without_their_cpus_do_not_lower_the_bound() -> None:
    busy = replace(reading(1, 10, 11, 29, 30, 31), cpu_shares=(0.4, 0.4, 1.0, 0.99, 0.97))
    ceiling = replace(bandwidth({1: [1]}), readings=(busy,)).ceiling(1)
    assert (ceiling.low, ceiling.value, ceiling.n) == (30, 31, 5)
    assert replace(busy, cpu_shares=(0.5,) * 5).undisturbed == busy.gb_s


def test_pages_count_as_huge_only_where_the_kernel_gave_them() -> None:
    entry = {"threads": 1, "kernel": "avx2", "pages": "huge", "huge_kib": 0, "passes": [[20.0, 1.0]]}
    printed = json.dumps({"realtime": False, "series": [entry, {**entry, "huge_kib": 4096}]})
    measured = parse_probe(printed, cpus=(0,), working_set=WorkingSet(SMALL, MIB))
    assert [one.pages for one in measured.readings] == ["small", "huge"]
    assert not measured.ahead


@pytest.mark.parametrize("printed", ["", "{}", '{"series": [{}], "realtime": true}', "[1]", '{"series": 3}'])
def test_what_are_no_results_is_refused(printed: str) -> None:
    with pytest.raises(HarnessError, match="printed something else"):
        parse_probe(printed, cpus=(0,), working_set=WorkingSet(SMALL, MIB))


def test_measurements_of_different_minutes_are_put_together() -> None:
    quiet, busy = bandwidth({1: [29, 30], 2: [57, 58]}), bandwidth({1: [28], 2: [33]})
    together = combined([busy, quiet])
    assert together.ceiling(2).value == 58
    assert sorted(together.best(2).gb_s) == [33, 57, 58]
    with pytest.raises(HarnessError, match="can't be put together"):
        combined([quiet, bandwidth({1: [1]}, working_set=99 * MIB)])


def test_a_decode_whose_weights_fit_the_cache_proves_nothing_either_way() -> None:
    probe = bandwidth({2: [50]}, working_set=97_000_000, cache=97_000_000)
    for tok_s in (120, 520):
        check = check_against_decode(probe, tok_s, 97e6, threads=2)
        assert check.sound is None
        assert "the 97 MB that a token reads fit the last-level cache of 97 MB" in check.reason
    assert check_against_decode(probe, 520, 98e6, threads=2).sound is False


def test_a_decode_far_below_the_ceiling_is_told_to_be_a_weak_check() -> None:
    check = check_against_decode(bandwidth({2: [40]}), 10, 1e9, threads=2)
    assert check.sound is True
    assert check.reason.endswith(
        "25% of the ceiling, so that a probe that understates up to 4.0 times would not be found out"
    )


def test_a_decode_below_the_ceiling_leaves_the_probe_standing() -> None:
    check = check_against_decode(bandwidth({2: [57, 58]}), 18.9, 2.258e9, threads=2)
    assert check.sound is True
    assert check.eta == pytest.approx(0.736, abs=0.001)
    assert check.reason.endswith("the probe 58.0 GB/s with 2 threads: 74% of the ceiling")


def test_a_decode_that_beats_the_ceiling_proves_the_probe_wrong() -> None:
    # What happened: a simple loop read 22.7 GB/s on a host where a decode read 27.7 GB/s.
    check = check_against_decode(bandwidth({2: [22.7]}), 1.93, 14.33e9, threads=2)
    assert check.sound is False
    assert check.reason.endswith("the probe is wrong, it understates by 21.8%")


def test_a_decode_from_the_cache_says_nothing_of_a_probe_of_memory() -> None:
    check = check_against_decode(bandwidth({2: [30]}), 1000, 97e6, threads=2)
    assert check.sound is None
    assert "finds part of its weights in the cache" in check.reason


def test_a_decode_from_the_cache_checks_a_probe_that_read_just_as_much() -> None:
    probe = bandwidth({2: [50]}, working_set=97_000_000)
    assert check_against_decode(probe, 120, 97e6, threads=2).sound is True
    assert check_against_decode(probe, 520, 97e6, threads=2).sound is False


def test_thread_counts_reach_the_number_of_cpus_in_steps() -> None:
    assert thread_steps(1) == (1,)
    assert thread_steps(2) == (1, 2)
    assert thread_steps(8) == (1, 2, 3, 4, 6, 8)
    assert thread_steps(14) == (1, 2, 3, 4, 6, 8, 12, 14)
    assert thread_steps(32) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
