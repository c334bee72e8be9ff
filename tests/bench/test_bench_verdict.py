"""When a measurement passes, when it fails, and when it may say neither."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bench.conditions import Conditions
from harness.bench.statistics import Interval
from harness.bench.verdict import (
    Judged,
    doubts_of_model,
    doubts_of_ratio,
    doubts_of_value,
    judge,
    judge_sizing,
)
from harness.profiles import Profile, Targets

CALM = Conditions(
    cpu="EPYC",
    cpu_flags=("avx2",),
    host_model=None,
    cores=16,
    smt="off",
    numa_nodes=1,
    governor=None,
    huge_pages="madvise",
    ram_mib=32768,
    memory_before_mib=30000,
    memory_after_mib=30000,
    frequency_before_mhz=3000.0,
    frequency_after_mhz=3000.0,
    steal_share=0.0,
    others_cores=0.1,
    swapped_pages=0,
    seconds=60.0,
)
DEVSTRAL = "Devstral Small 2 24B Q4_K_M"
PROFILE = Profile("minimum", 8, 24576, 40, Targets(DEVSTRAL, 1.0, 2.0))
FILE = "Devstral-Small-2-24B-Instruct-2512-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0.98, 0.99, 5, Judged("PASS", "0.98 to 0.99 is at least 0.98")),
        (0.95, 0.979, 9, Judged("FAIL", "0.95 to 0.979 is too low: at least 0.98 is wanted")),
        (
            0.97,
            0.99,
            9,
            Judged("INCONCLUSIVE", "the interval 0.97 to 0.99 straddles the target of at least 0.98"),
        ),
        (0.99, 1.0, 4, Judged("INCONCLUSIVE", "only 4 samples, at least 5 are needed")),
        (0.1, 0.1, 1, Judged("INCONCLUSIVE", "only 1 sample, at least 5 are needed")),
    ],
)
def test_an_interval_is_held_against_a_least_value(low: float, high: float, n: int, expected: Judged) -> None:
    assert judge(Interval((low + high) / 2, low, high, n), at_least=0.98) == expected


def test_an_interval_is_held_against_a_greatest_value() -> None:
    added = Interval(4.0, 3.0, 5.0, 10)
    assert judge(added, at_most=5.0) == Judged("PASS", "3 to 5 is at most 5")
    assert judge(added, at_most=2.5) == Judged("FAIL", "3 to 5 is too high: at most 2.5 is wanted")
    assert judge(added, at_most=4.0).verdict == "INCONCLUSIVE"
    assert judge(added, at_least=1, at_most=6) == Judged("PASS", "3 to 5 is at least 1 and at most 6")
    assert judge(added, at_least=4.5, at_most=6).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("bounds", [{}, {"at_least": 2.0, "at_most": 1.0}])
def test_a_target_that_is_none_is_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="nothing"):
        judge(Interval(1, 1, 1, 9), **bounds)


NUMBERS = st.floats(min_value=0.001, max_value=1000)
INTERVALS = st.builds(
    lambda bounds, n: Interval(sorted(bounds)[1], min(bounds), max(bounds), n),
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.integers(1, 30),
)


@settings(max_examples=60, deadline=None)
@given(interval=INTERVALS, target=NUMBERS, doubts=st.lists(st.sampled_from(["a", "b"]), max_size=2))
def test_no_verdict_claims_more_than_the_interval_says(
    interval: Interval, target: float, doubts: list[str]
) -> None:
    least = judge(interval, at_least=target, doubts=doubts)
    most = judge(interval, at_most=target, doubts=doubts)
    for judged in (least, most):
        assert judged.reason
        assert all(doubt in judged.reason for doubt in doubts)
        if doubts or interval.n < 5:
            assert judged.verdict == "INCONCLUSIVE"
    if least.verdict == "PASS":
        assert interval.low >= target
    if least.verdict == "FAIL":
        assert interval.high < target
        assert most.verdict == "PASS"
    if least.verdict == "INCONCLUSIVE" and not doubts and interval.n >= 5:
        assert interval.low < target <= interval.high


@settings(max_examples=40, deadline=None)
@given(interval=INTERVALS, target=NUMBERS, by=st.floats(min_value=1.0, max_value=2.0))
def test_a_better_measurement_is_never_judged_worse(interval: Interval, target: float, by: float) -> None:
    order = ["FAIL", "INCONCLUSIVE", "PASS"]
    better = Interval(interval.value * by, interval.low * by, interval.high * by, interval.n)
    before, after = judge(interval, at_least=target).verdict, judge(better, at_least=target).verdict
    assert order.index(after) >= order.index(before)


def test_a_calm_host_that_carries_the_profile_raises_no_doubt() -> None:
    assert doubts_of_value("kvm", CALM, PROFILE) == ()
    assert doubts_of_value("native", CALM, PROFILE) == ()


@pytest.mark.parametrize(
    ("accelerator", "changes", "words"),
    [
        ("tcg", {}, r"measured under emulation \(TCG\)"),
        ("kvm", {"cores": 4, "others_cores": 0.0}, "has 8 vCPUs, this host only 4 cores"),
        ("kvm", {"ram_mib": 23629}, "has 24576 MiB of RAM, this host only 23629"),
        ("kvm", {"steal_share": 0.011}, "1.1% of the CPU time was stolen, at most 1% may be"),
        ("native", {"others_cores": 0.81}, "others used 0.81 of its 16 cores, at most 0.8 may be"),
    ],
)
def test_every_doubt_is_told_in_words(accelerator: str, changes: dict[str, float], words: str) -> None:
    (doubt,) = doubts_of_value(accelerator, replace(CALM, **changes), PROFILE)  # type: ignore[arg-type]
    judged = judge(Interval(9, 9, 9, 9), at_least=1, doubts=(doubt,))
    assert judged.verdict == "INCONCLUSIVE"
    assert re.search(words, judged.reason)


def test_the_limits_themselves_raise_no_doubt() -> None:
    edge = replace(CALM, cores=8, ram_mib=24576, steal_share=0.01, others_cores=0.4)
    assert doubts_of_value("kvm", edge, PROFILE) == ()


@pytest.mark.parametrize("shown_mib", [23630, 24105])
def test_a_host_as_large_as_the_profile_carries_it_less_what_its_kernel_keeps(shown_mib: int) -> None:
    assert doubts_of_value("kvm", replace(CALM, ram_mib=shown_mib), PROFILE) == ()


def test_a_crowded_host_does_not_keep_a_ratio_from_its_verdict() -> None:
    assert doubts_of_ratio("native") == doubts_of_ratio("kvm") == ()
    assert doubts_of_ratio("tcg")


@pytest.mark.parametrize(
    ("told", "same"),
    [
        ((FILE,), True),
        (("devstral-small-2-24b", "model-q4_k_m.gguf"), True),
        (("devstral-small-2-24b", "model-q8_0.gguf"), False),
        (("Devstral-Small-2507-24B-Q4_K_M.gguf",), False),
        (("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"), False),
        (("",), False),
        ((), False),
    ],
)
def test_a_target_is_for_its_own_model_only(told: tuple[str, ...], same: bool) -> None:
    assert (doubts_of_model(DEVSTRAL, *told) == ()) is same


def test_sizing_is_judged_where_it_means_something() -> None:
    reached, missed = Interval(1.5, 1.4, 1.6, 9), Interval(0.8, 0.7, 0.9, 9)
    for decode, verdict in ((reached, "PASS"), (missed, "FAIL")):
        judged = judge_sizing(decode, PROFILE, CALM, accelerator="kvm", model=(FILE,))
        assert judged is not None
        assert judged.verdict == verdict
    small = replace(CALM, cores=2, ram_mib=16000, others_cores=0)
    judged = judge_sizing(missed, PROFILE, small, accelerator="native", model=("smollm2-135m-instruct",))
    assert judged == Judged(
        "INCONCLUSIVE",
        "profile minimum has 8 vCPUs, this host only 2 cores; "
        "profile minimum has 24576 MiB of RAM, this host only 16000; "
        "the target was set for Devstral Small 2 24B Q4_K_M, the model here is smollm2-135m-instruct",
    )
    judged = judge_sizing(
        reached, PROFILE, CALM, accelerator="native", model=(FILE,), doubts=("a quota gives it 4 CPUs' time",)
    )
    assert judged == Judged("INCONCLUSIVE", "a quota gives it 4 CPUs' time")
    promises_nothing = replace(PROFILE, targets=None)
    assert judge_sizing(reached, promises_nothing, CALM, accelerator="kvm", model=(FILE,)) is None
