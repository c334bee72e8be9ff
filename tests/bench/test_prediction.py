"""Predictions hold for any host whose bandwidth saturates, and are refused where measurements don't reach."""

import pytest
from bandwidth_sample import DEVSTRAL, bandwidth, exactly
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bench.prediction import predict_bandwidth, predict_decode
from harness.bench.roofline import DecodePoint
from harness.bench.statistics import Interval


def roof(pace: float, limit: float, threads: int) -> float:
    return min(pace * threads, limit)


def saturating(pace: float, limit: float, threads: int) -> float:
    return limit * threads / (threads + limit / pace)


@given(
    st.sampled_from([roof, saturating]),
    st.floats(5, 40),
    st.floats(1.2, 40),
    st.sampled_from([3, 5, 6, 7, 9, 12, 14, 16]),
)
@settings(max_examples=60, deadline=None)
def test_the_truth_is_within_the_bracket(curve, pace: float, width: float, threads: int) -> None:
    host = bandwidth({count: [curve(pace, pace * width, count)] for count in (1, 2, 4, 8)})
    predicted = predict_bandwidth(host, threads)
    truth = curve(pace, pace * width, threads)
    assert predicted.likely is not None
    assert predicted.likely.low <= truth * 1.001
    assert predicted.likely.high >= truth * 0.999
    assert predicted.at_least <= predicted.likely.value <= predicted.at_most


def test_a_saturating_host_is_extrapolated_closely() -> None:
    host = bandwidth({count: [saturating(30, 200, count)] for count in (1, 2, 4, 8)})
    predicted = predict_bandwidth(host, 16)
    assert predicted.basis == "extrapolated"
    assert predicted.likely is not None
    assert predicted.likely.value == pytest.approx(saturating(30, 200, 16), rel=0.01)


def test_what_was_measured_is_said_as_measured() -> None:
    predicted = predict_bandwidth(bandwidth({1: [29, 30], 2: [55, 56]}), 2)
    assert predicted.basis == "measured"
    assert predicted.likely == Interval(value=56, low=55.5, high=56, n=2)


def test_two_cpus_say_nothing_of_four_but_a_bracket() -> None:
    predicted = predict_bandwidth(bandwidth({1: [30], 2: [50]}), 4)
    assert predicted.basis == "cannot say"
    assert predicted.likely is None
    assert (predicted.at_least, predicted.at_most) == (50, 50 + 2 * 20)
    assert predicted.reason.startswith(
        "2 numbers of threads are too few for a curve; with 2 threads it is 50.0"
    )


def test_nothing_is_likely_beyond_twice_the_threads_measured() -> None:
    host = bandwidth({count: [saturating(30, 200, count)] for count in (1, 2, 4, 8)})
    assert predict_bandwidth(host, 16).likely is not None
    predicted = predict_bandwidth(host, 17)
    assert predicted.likely is None
    assert "17 threads are more than 2 times the 8 measured" in predicted.reason


def test_one_cpu_is_bracketed_by_its_own_pace() -> None:
    predicted = predict_bandwidth(bandwidth({1: [30]}), 4)
    assert (predicted.basis, predicted.at_least, predicted.at_most) == ("cannot say", 30, 120)


HOST = bandwidth({count: [saturating(30, 200, count)] for count in (1, 2, 4, 8)})


def test_a_decode_as_measured_is_said_as_measured_and_scaled_by_depth() -> None:
    decodes = [DecodePoint(8, Interval(value=6, low=5.8, high=6.2, n=5))]
    here = predict_decode(DEVSTRAL, HOST, decodes, threads=8)
    assert here.basis == "measured"
    assert here.likely is not None
    assert (here.likely.low, here.likely.value, here.likely.high) == pytest.approx((5.8, 6, 6.2))
    deep = predict_decode(DEVSTRAL, HOST, decodes, threads=8, depth=16384)
    assert deep.likely is not None
    assert deep.likely.value == pytest.approx(6 * 14e9 / (14e9 + 2.5 * 1024**3))


def test_a_decode_bound_by_memory_follows_bandwidth() -> None:
    eta = 0.9
    decodes = [DecodePoint(count, exactly(eta * saturating(30, 200, count) / 14)) for count in (1, 2, 4, 8)]
    predicted = predict_decode(DEVSTRAL, HOST, decodes, threads=16)
    truth = eta * saturating(30, 200, 16) / 14
    assert predicted.likely is not None
    assert predicted.likely.value == pytest.approx(truth, rel=0.02)
    assert predicted.likely.low <= truth <= predicted.likely.high


def test_a_decode_bound_by_arithmetic_grows_until_memory_stops_it() -> None:
    # Each thread reads 10 GB/s at its own pace; memory gives 200 at most, about 109 to 8 threads.
    decodes = [
        DecodePoint(count, Interval(value=10 * count / 14, low=9 * count / 14, high=12 * count / 14, n=5))
        for count in (1, 2)
    ]
    four = predict_decode(DEVSTRAL, HOST, decodes, threads=4)
    assert four.likely is not None
    assert four.likely.value == pytest.approx(40 / 14, rel=0.01)
    sixteen = predict_decode(DEVSTRAL, HOST, decodes, threads=16)
    assert sixteen.likely is not None
    assert 0.7 * 141 / 14 <= sixteen.likely.value <= 141.2 / 14
    assert sixteen.likely.high <= sixteen.at_most < 12 * 16 / 14


def test_a_decode_on_two_cpus_brackets_eight() -> None:
    small_host = bandwidth({1: [30], 2: [56]})
    decodes = [DecodePoint(2, Interval(value=2.7, low=2.6, high=2.8, n=5))]
    predicted = predict_decode(DEVSTRAL, small_host, decodes, threads=8)
    assert predicted.basis == "cannot say"
    assert predicted.likely is None
    assert predicted.at_least == pytest.approx(2.6)
    assert predicted.at_most == pytest.approx(2.8 * 4)
