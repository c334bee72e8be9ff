"""How much memory is read to measure bandwidth, and what a host or guest says of its caches and memory."""

import pytest

from harness.bench.memory_facts import (
    MemoryFacts,
    ask_memory,
    choose_working_set,
    cpu_list,
    parse_memory,
    regime_of,
)
from harness.bench.shell import run_on_host
from harness.errors import HarnessError
from harness.locations import GIB, MIB

TWO_COMPLEXES = """\
cpus 0-3
available 8388608
cache /sys/devices/system/cpu/cpu0/cache/index0/level:1
cache /sys/devices/system/cpu/cpu0/cache/index0/type:Data
cache /sys/devices/system/cpu/cpu0/cache/index0/size:32K
cache /sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list:0
cache /sys/devices/system/cpu/cpu0/cache/index3/level:3
cache /sys/devices/system/cpu/cpu0/cache/index3/type:Unified
cache /sys/devices/system/cpu/cpu0/cache/index3/size:32M
cache /sys/devices/system/cpu/cpu0/cache/index3/shared_cpu_list:0-1
cache /sys/devices/system/cpu/cpu1/cache/index3/level:3
cache /sys/devices/system/cpu/cpu1/cache/index3/type:Unified
cache /sys/devices/system/cpu/cpu1/cache/index3/size:32M
cache /sys/devices/system/cpu/cpu1/cache/index3/shared_cpu_list:0-1
cache /sys/devices/system/cpu/cpu2/cache/index3/level:3
cache /sys/devices/system/cpu/cpu2/cache/index3/type:Unified
cache /sys/devices/system/cpu/cpu2/cache/index3/size:32768K
cache /sys/devices/system/cpu/cpu2/cache/index3/shared_cpu_list:2-3
"""


def facts(available: int = 8 * GIB) -> MemoryFacts:
    parsed = parse_memory(TWO_COMPLEXES)
    return MemoryFacts(parsed.cpus, available, parsed.caches)


def test_last_level_caches_count_once_and_only_those_of_the_cpus_used() -> None:
    assert facts().last_level_bytes([0, 1]) == 32 * MIB
    assert facts().last_level_bytes([1, 2]) == 64 * MIB
    assert facts().last_level_bytes([9]) is None


def test_a_cgroup_limit_counts_where_it_leaves_less() -> None:
    assert parse_memory(f"{TWO_COMPLEXES}limit {2 * GIB} {GIB}\n").available_bytes == GIB
    assert parse_memory(f"{TWO_COMPLEXES}limit max {GIB}\n").available_bytes == 8 * GIB
    assert parse_memory(f"{TWO_COMPLEXES}limit {GIB} {2 * GIB}\n").available_bytes == 0


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(HarnessError, match="which CPUs and memory"):
        parse_memory("bash: sed: command not found\n")


def test_this_host_answers() -> None:
    answer = ask_memory(run_on_host)
    assert answer.cpus
    assert answer.available_bytes > 0


def test_cpu_lists_are_read() -> None:
    assert cpu_list("0-2,8,10-11\n") == {0, 1, 2, 8, 10, 11}
    assert cpu_list("") == set()


def test_memory_is_measured_with_sixteen_times_the_cache() -> None:
    chosen = choose_working_set(facts(), [0, 1, 2, 3], 14e9)
    assert chosen.bytes == 16 * 64 * MIB
    assert chosen.regime == "memory"
    assert choose_working_set(facts(), [0, 1, 2, 3]) == chosen


def test_a_model_that_partly_fits_the_cache_is_measured_with_as_much() -> None:
    chosen = choose_working_set(facts(), [0, 1], 98_000_000)
    assert chosen.bytes == 98_000_000
    assert chosen.regime == "cache"
    assert regime_of(4 * 32 * MIB, 32 * MIB) == "memory"


def test_where_memory_is_short_less_is_read_but_never_less_than_counts_as_memory() -> None:
    chosen = choose_working_set(facts(300 * MIB), [0, 1])
    assert chosen.bytes == 236 * MIB
    assert chosen.regime == "memory"


def test_too_little_memory_is_refused_with_the_sum() -> None:
    with pytest.raises(HarnessError) as caught:
        choose_working_set(facts(150 * MIB), [0, 1])
    assert caught.value.message == (
        "measuring memory bandwidth needs 128 MiB (the last-level cache is 32 MiB) and 64 MiB beside it;"
        " 150 MiB are free, 42 MiB short"
    )


def test_a_guest_that_hides_its_cache_gets_one_assumed() -> None:
    hidden = parse_memory("cpus 0\navailable 4194304\n")
    assert choose_working_set(hidden, [0]).bytes == 16 * 128 * MIB
