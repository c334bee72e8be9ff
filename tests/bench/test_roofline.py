"""The roofline: ceiling by depth, the share reached, and what is said to be the bottleneck."""

from dataclasses import replace

import pytest
from bandwidth_sample import DEVSTRAL, bandwidth, exactly

from harness.bench.roofline import (
    DecodePoint,
    KvTypes,
    bottleneck,
    ceiling,
    mean_depth,
    prefill_gflops,
    reached,
    reached_in_rounds,
)
from harness.bench.statistics import Interval
from harness.errors import HarnessError

HOST = bandwidth({1: [28, 29, 30], 2: [54, 55, 56]})


def test_the_ceiling_is_bandwidth_by_the_bytes_of_a_token() -> None:
    limit = ceiling(DEVSTRAL, HOST, threads=2, depth=0)
    assert limit.tok_s.value == pytest.approx(56 / 14)
    assert limit.tok_s.low == pytest.approx(55 / 14)
    assert limit.regime == "memory"


def test_context_lowers_the_ceiling_by_what_it_takes() -> None:
    deep = ceiling(DEVSTRAL, HOST, threads=2, depth=16384)
    assert deep.bytes_per_token == 14e9 + 2.5 * 1024**3
    packed = ceiling(DEVSTRAL, HOST, threads=2, depth=16384, kv=KvTypes("q8_0", "q8_0"))
    assert packed.bytes_per_token == 14e9 + 2.5 * 1024**3 * 34 / 64


def test_eta_is_the_share_of_the_ceiling() -> None:
    limit = ceiling(DEVSTRAL, HOST, threads=2, depth=0)
    eta = reached(Interval(value=3, low=2.8, high=3.2, n=5), limit)
    assert (eta.low, eta.value, eta.high, eta.n) == pytest.approx((0.7, 0.75, 0.8, 5))


def test_eta_of_rounds_compares_like_with_like() -> None:
    speeds = [33, 35, 55, 57, 34, 58]
    limits = [ceiling(DEVSTRAL, bandwidth({2: [speed]}), threads=2, depth=0) for speed in speeds]
    eta = reached_in_rounds([0.9 * speed / 14 for speed in speeds], limits)
    assert (eta.low, eta.value, eta.high) == pytest.approx((0.9, 0.9, 0.9))


def test_a_small_model_is_not_held_against_the_bandwidth_of_memory() -> None:
    small = replace(DEVSTRAL, decode_bytes=96_576_768)
    with pytest.raises(HarnessError, match="says nothing of a model that reads 97 MB") as caught:
        ceiling(small, HOST, threads=2, depth=0)
    assert "decode_bytes" in caught.value.hint
    same = bandwidth({2: [50]}, working_set=96_576_768)
    assert ceiling(small, same, threads=2, depth=0).regime == "cache"
    with pytest.raises(HarnessError, match="says nothing of a model"):
        ceiling(DEVSTRAL, same, threads=2, depth=0)


def point(threads: int, tok_s: float) -> DecodePoint:
    return DecodePoint(threads, exactly(tok_s))


@pytest.mark.parametrize(
    ("decodes", "says"),
    [
        ([point(2, 3.6)], "reads 90% of what memory can deliver: memory bandwidth is the bottleneck"),
        ([point(1, 1.3), point(2, 2.6)], "is 2.00 times the speed of one thread: each CPU's own pace"),
        ([point(1, 1.3), point(2, 1.6)], "is only 1.23 times the speed of one thread: neither"),
        (
            [point(2, 2.0)],
            "memory bandwidth is not the bottleneck; what is takes a decode with fewer threads",
        ),
        ([point(2, 4.1)], "which cannot be: the bandwidth probe is wrong"),
    ],
)
def test_the_bottleneck_is_named(decodes: list[DecodePoint], says: str) -> None:
    assert says in bottleneck(DEVSTRAL, HOST, decodes)


@pytest.mark.parametrize("tok_s", [100, 900])
def test_memory_does_not_hold_up_what_fits_the_cache(tok_s: float) -> None:
    small = replace(DEVSTRAL, decode_bytes=30_000_000)
    probe = bandwidth({1: [12], 2: [24]}, working_set=30_000_000)
    told = bottleneck(small, probe, [point(1, tok_s / 2), point(2, tok_s)])
    assert told.startswith(
        "The 30 MB that a token reads fit the last-level cache of 34 MB: memory does not hold"
    )
    assert told.endswith(".")


def test_a_decode_has_half_its_own_tokens_before_it_on_average() -> None:
    assert mean_depth(0, 1) == 0
    assert mean_depth(1000, 65) == 1032
    with pytest.raises(ValueError, match="no decode has 0 tokens"):
        mean_depth(0, 0)


def test_prefill_of_the_24b_model_takes_44_gflop_a_token_and_attention() -> None:
    # 6.8 tok/s; attention at depth 256 on average is 2 x 40 x 32 x 256 x 256 = 0.17 GFLOP a token.
    assert prefill_gflops(DEVSTRAL, 6.8, 512) == pytest.approx(6.8 * (44 + 0.1678 + 0.0026), rel=1e-3)
