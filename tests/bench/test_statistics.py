"""Known answers, and what an interval promises: to have the truth in it 95 times of 100."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bench import statistics
from harness.bench.statistics import Interval, median, median_interval, outliers, percentile, ratio_interval

NEWCOMB = [28, 26, 33, 24, 34, -44, 27, 16, 40, -2, 29, 22, 24, 21, 25, 30, 23, 29, 31, 19]
"""Newcomb's first 20 times of light, 1882: the textbook example of two samples that stand out."""


@pytest.mark.parametrize(
    ("samples", "q", "expected"),
    [
        ([15, 20, 35, 40, 50], 40, 29.0),  # the worked example of linear interpolation
        ([1, 2, 3, 4], 75, 3.25),
        ([4, 1, 3, 2], 50, 2.5),
        (range(1, 101), 99, 99.01),
        (range(1, 101), 90, 90.1),
        ([7], 99, 7.0),
        ([3, 3, 3], 10, 3.0),
        ([2, 9, 4], 0, 2.0),
        ([2, 9, 4], 100, 9.0),
    ],
)
def test_percentiles_are_those_of_linear_interpolation(
    samples: Sequence[float], q: float, expected: float
) -> None:
    assert percentile(samples, q) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("samples", "expected"), [([5], 5), ([1, 9], 5), ([3, 1, 2], 2), (NEWCOMB, 25.5), ([2, 2, 2], 2)]
)
def test_the_median_is_the_middle(samples: Sequence[float], expected: float) -> None:
    assert median(samples) == expected
    assert median_interval(samples).value == expected


def test_one_sample_has_no_width() -> None:
    assert median_interval([3.5]) == Interval(3.5, 3.5, 3.5, 1)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_an_interval_of_few_samples_reaches_from_the_smallest_to_the_largest(n: int) -> None:
    samples = [float(one * one) for one in range(1, n + 1)]
    interval = median_interval(samples)
    assert interval.low == pytest.approx(samples[0], rel=0.05)
    assert interval.high == pytest.approx(samples[-1], rel=0.05)


def test_constants_are_certain() -> None:
    assert median_interval([2.5] * 8) == Interval(2.5, 2.5, 2.5, 8)
    assert ratio_interval([2.5] * 8, [5.0] * 8, paired=False) == Interval(0.5, 0.5, 0.5, 8)
    assert outliers([2.5] * 8) == ()


def test_the_same_seed_gives_the_same_interval() -> None:
    generator = random.Random(1)
    samples = [generator.gauss(10, 1) for _ in range(20)]
    assert median_interval(samples, seed=4) == median_interval(samples, seed=4)
    other = [one * 1.01 + (place % 3) * 0.1 for place, one in enumerate(samples)]
    first, again, third = (ratio_interval(samples, other, paired=False, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first != third


def test_the_t_distribution_is_that_of_the_tables() -> None:
    table = {4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 14: 2.145, 29: 2.045, 99: 1.984}
    for freedom, expected in table.items():
        assert statistics._t_quantile(0.975, freedom) == pytest.approx(expected, rel=0.004)


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of simulated experiments need no more."""
    monkeypatch.setattr(statistics, "RESAMPLES", 600)


def _normal(generator: random.Random, n: int) -> list[float]:
    return [generator.gauss(10, 1) for _ in range(n)]


@pytest.mark.usefixtures("fewer_resamples")
def test_the_interval_of_a_median_covers_the_truth_as_often_as_it_says() -> None:
    generator = random.Random(20)
    covered = 0
    for seed in range(400):
        interval = median_interval(_normal(generator, 10), seed=seed)
        covered += interval.low <= 10 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.usefixtures("fewer_resamples")
def test_seven_samples_are_no_weak_spot() -> None:
    """Where the plain percentile bootstrap covers 88 %."""
    generator = random.Random(21)
    covered = 0
    for seed in range(200):
        interval = median_interval(_normal(generator, 7), seed=seed)
        covered += interval.low <= 10 <= interval.high
    assert covered / 200 >= 0.95


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says(paired: bool) -> None:
    generator = random.Random(22)
    covered = 0
    for seed in range(400):
        # Pairs share the slowness of their moment, which is far larger than the noise of each.
        moments = [generator.uniform(1, 2) if paired else 1.0 for _ in range(10)]
        below = [moment * generator.gauss(10, 0.5) for moment in moments]
        above = [moment * generator.gauss(9, 0.45) for moment in moments]
        interval = ratio_interval(above, below, paired=paired, seed=seed)
        covered += interval.low <= 0.9 <= interval.high
    assert 0.92 <= covered / 400 <= 0.985


def test_pairs_cancel_what_slowed_both() -> None:
    generator = random.Random(23)
    moments = [generator.uniform(1, 3) for _ in range(12)]
    below = [10 * moment * generator.uniform(0.99, 1.01) for moment in moments]
    above = [11 * moment * generator.uniform(0.99, 1.01) for moment in moments]
    paired = ratio_interval(above, below, paired=True)
    unpaired = ratio_interval(above, below, paired=False)
    assert paired.value == pytest.approx(1.1, rel=0.01)
    assert paired.low > 1.08
    assert unpaired.high - unpaired.low > 5 * (paired.high - paired.low)


def test_a_ratio_counts_the_smaller_side() -> None:
    assert ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0], paired=False).n == 2
    assert ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0], paired=False).value == pytest.approx(4 / 1.5)
    assert ratio_interval([2.0, 9.0, 8.0], [1.0, 3.0, 4.0], paired=True).value == 2.0


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (NEWCOMB, (5, 9)),
        ([1, 1, 1, 1, 100], (4,)),  # the MAD is 0
        ([1, 1, 1, 2], ()),
        ([2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3], (8, 9)),  # Iglewicz and Hoaglin's own
        ([1, 2, 3, 4, 5], ()),
        ([7], ()),
        ([], ()),
        ([1, 1000], ()),
    ],
)
def test_what_stands_out_is_flagged(samples: Sequence[float], expected: tuple[int, ...]) -> None:
    assert outliers(samples) == expected


@pytest.mark.parametrize("call", [median, median_interval, outliers, lambda one: percentile(one, 90)])
@pytest.mark.parametrize("samples", [[1.0, math.nan], [math.inf], [1.0, -math.inf, 2.0]])
def test_what_is_no_number_is_refused(call: Callable[[list[float]], object], samples: list[float]) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        call(samples)


@pytest.mark.parametrize(
    ("above", "below", "paired", "message"),
    [
        ([1.0], [0.0], False, "above 0"),
        ([1.0, 2.0], [1.0, -2.0], True, "above 0"),
        ([1.0, 2.0], [1.0], True, "no pairs"),
        ([], [1.0], False, "no samples"),
        ([1.0], [math.nan], True, "finite numbers"),
    ],
)
def test_what_has_no_ratio_is_refused(
    above: list[float], below: list[float], paired: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ratio_interval(above, below, paired=paired)


@pytest.mark.parametrize("call", [median, median_interval, lambda one: percentile(one, 90)])
def test_no_samples_say_nothing(call: Callable[[list[float]], object]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        call([])


@pytest.mark.parametrize("q", [-1, 100.5, math.nan])
def test_a_percentile_beyond_100_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        percentile([1.0, 2.0], q)


@pytest.mark.parametrize(
    "fields", [(1.0, 2.0, 3.0, 5), (1.0, math.nan, 2.0, 5), (1.0, 0.5, math.inf, 5), (1.0, 1.0, 1.0, 0)]
)
def test_an_interval_out_of_order_is_none(fields: tuple[float, float, float, int]) -> None:
    with pytest.raises(ValueError, match="interval"):
        Interval(*fields)


def test_many_samples_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [float(one % 7) for one in range(50)]
    monkeypatch.setattr(statistics, "_AT_ONCE", 50 * 300)
    interval = median_interval(samples)
    assert interval.value == 3.0
    assert interval.low >= 2.0
    assert interval.high <= 4.0


POSITIVE = st.floats(min_value=1e-6, max_value=1e6)


@settings(max_examples=25, deadline=None)
@given(samples=st.lists(POSITIVE, min_size=1, max_size=30), scale=st.sampled_from([0.5, 2.0, 1024.0]))
def test_another_unit_changes_no_conclusion(samples: list[float], scale: float) -> None:
    here, there = median_interval(samples), median_interval([one * scale for one in samples])
    assert min(samples) <= here.low <= here.value <= here.high <= max(samples)
    assert there.low == pytest.approx(here.low * scale)
    assert there.high == pytest.approx(here.high * scale)
    assert outliers(samples) == outliers([one * scale for one in samples])
