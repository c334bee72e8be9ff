"""Bandwidth and decode speed with another number of CPUs than was measured, and how sure that is.

As long as threads share one path to memory, more of them read no less, and each further one adds no more than
the one before. That brackets what can't be measured; a curve through the measurements says where in the
bracket it is likely, and only as far as twice the threads it was fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.bench.bandwidth import Bandwidth
from harness.bench.gguf_facts import ModelFacts
from harness.bench.roofline import MEMORY_BOUND_ETA, DecodePoint, KvTypes, ceiling, reached, scaled
from harness.bench.statistics import Interval

FARTHEST = 2
"""Times the measured threads beyond which nothing is said of what is likely."""

FEWEST_COUNTS = 3
"""Numbers of threads that have to be measured for a curve: two points fit any."""


@dataclass(frozen=True)
class Prediction:
    """`likely` is None where it can't be said. `at_least` and `at_most` hold for more CPUs of the same kind
    with the same path to memory. `basis`: "measured", "between measurements", "extrapolated" or "cannot say".
    """

    threads: int
    likely: Interval | None
    at_least: float
    at_most: float
    basis: str
    reason: str


def predict_bandwidth(bandwidth: Bandwidth, threads: int) -> Prediction:
    """GB/s that `threads` threads would read."""
    counts = bandwidth.thread_counts
    if threads in counts:
        measured = bandwidth.ceiling(threads)
        return Prediction(threads, measured, measured.low, measured.high, "measured", "it was measured")
    below = [count for count in counts if count < threads]
    above = [count for count in counts if count > threads]
    if above:
        return _between(bandwidth, threads, max(below, default=0), min(above))
    return _beyond(bandwidth, threads, counts)


def predict_decode(
    facts: ModelFacts,
    bandwidth: Bandwidth,
    decodes: Sequence[DecodePoint],
    *,
    threads: int,
    depth: float = 0,
    kv: KvTypes | None = None,
) -> Prediction:
    """Tokens per second at `depth` with `threads` threads, from decodes measured beside the bandwidth.

    The lower of two limits: what memory delivers to so many threads times the share of it that a decode
    reaches (eta), and each thread's own pace, which is what bounds a decode that memory does not. Where none
    of the decodes was bound by memory, the eta of one that is can only be put between MEMORY_BOUND_ETA and 1.
    """
    if not decodes:
        raise ValueError("no decode was measured")
    kv = kv or KvTypes()
    to_tok_s = 1e9 / facts.decode_bytes_at(depth, kv.key, kv.value)
    read = predict_bandwidth(bandwidth, threads)
    limits = [ceiling(facts, bandwidth, threads=point.threads, depth=point.depth, kv=kv) for point in decodes]
    etas = [reached(point.tok_s, limit) for point, limit in zip(decodes, limits, strict=True)]
    same = [place for place, point in enumerate(decodes) if point.threads == threads]
    if same:
        eta = etas[min(same, key=lambda place: abs(decodes[place].depth - depth))]
        likely = scaled(eta, bandwidth.ceiling(threads).value * to_tok_s)
        return Prediction(
            threads, likely, likely.low, likely.high, "measured", "a decode with as many threads"
        )
    # In GB/s, so that decodes at different depths can be put together.
    speeds = [
        (point.threads, scaled(point.tok_s, limit.bytes_per_token / 1e9))
        for point, limit in zip(decodes, limits, strict=True)
    ]
    at_least = max((speed.low for count, speed in speeds if count <= threads), default=0.0)
    pace = max((scaled(speed, threads / count) for count, speed in speeds), key=lambda one: one.value)
    at_most = max(at_least, min(read.at_most, pace.high))
    likely_speed = _lower_limit(read.likely, pace, etas, at_least, at_most)
    return Prediction(
        threads,
        None if likely_speed is None else scaled(likely_speed, to_tok_s),
        at_least * to_tok_s,
        at_most * to_tok_s,
        read.basis,
        f"bandwidth: {read.reason}",
    )


def _lower_limit(
    read: Interval | None, pace: Interval, etas: Sequence[Interval], at_least: float, at_most: float
) -> Interval | None:
    """GB/s of the decode: the lower of memory's limit and of the threads' own pace, within the bracket."""
    if read is None:
        return None
    best = max(etas, key=lambda eta: eta.value)
    if best.value >= MEMORY_BOUND_ETA:
        eta = best
    else:
        middle = (MEMORY_BOUND_ETA + 1) / 2
        eta = Interval(value=middle, low=min(one.low for one in etas), high=1, n=best.n)

    def bracketed(value: float) -> float:
        return min(max(value, at_least), at_most)

    return Interval(
        value=bracketed(min(eta.value * read.value, pace.value)),
        low=bracketed(min(eta.low * read.low, pace.low)),
        high=bracketed(min(eta.high * read.high, pace.high)),
        n=best.n,
    )


def _between(bandwidth: Bandwidth, threads: int, below: int, above: int) -> Prediction:
    low = bandwidth.ceiling(below) if below else Interval(value=0, low=0, high=0, n=1)
    high = bandwidth.ceiling(above)
    share = (threads - below) / (above - below)
    value = low.value + share * (high.value - low.value)
    # A concave curve lies above its chord.
    at_most = max(value, high.high)
    at_least = min(value, low.low + share * max(0.0, high.low - low.low))
    likely = Interval(value=value, low=at_least, high=at_most, n=min(low.n, high.n))
    reason = f"on the line between {below} and {above} threads"
    return Prediction(threads, likely, at_least, at_most, "between measurements", reason)


def _beyond(bandwidth: Bandwidth, threads: int, counts: Sequence[int]) -> Prediction:
    most = max(counts)
    last = bandwidth.ceiling(most)
    at_most = last.high + (threads - most) * _steepest(bandwidth, counts)
    bracket = (
        f"with {most} threads it is {last.value:.1f} GB/s; {threads} would read from {last.low:.1f}"
        f" to {at_most:.1f} GB/s of the same memory, and more where they have memory channels of their own"
    )
    if len(counts) < FEWEST_COUNTS or threads > FARTHEST * most:
        why = (
            f"{len(counts)} numbers of threads are too few for a curve"
            if len(counts) < FEWEST_COUNTS
            else f"{threads} threads are more than {FARTHEST} times the {most} measured"
        )
        return Prediction(threads, None, last.low, at_most, "cannot say", f"{why}; {bracket}")
    value = min(max(_saturating(bandwidth, counts, threads), last.value), at_most)
    likely = Interval(value=value, low=last.low, high=at_most, n=last.n)
    reason = f"a saturating curve through {len(counts)} numbers of threads; {bracket}"
    return Prediction(threads, likely, last.low, at_most, "extrapolated", reason)


def _steepest(bandwidth: Bandwidth, counts: Sequence[int]) -> float:
    """GB/s that a further thread can add at most: what the last ones measured did, with their spread."""
    most = max(counts)
    last = bandwidth.ceiling(most)
    pace = last.high / most
    fewer = [count for count in counts if count < most]
    if not fewer:
        return pace
    before = bandwidth.ceiling(max(fewer))
    return min(pace, max(0.0, (last.high - before.low) / (most - max(fewer))))


def _saturating(bandwidth: Bandwidth, counts: Sequence[int], threads: int) -> float:
    """GB/s at `threads` on the curve B t / (t + h), by least squares of 1/BW over 1/t."""
    xs = [1 / count for count in counts]
    ys = [1 / bandwidth.ceiling(count).value for count in counts]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    inverse = mean_y + slope * (1 / threads - mean_x)
    # A curve that never saturates within sight has no ceiling there: linear in the number of threads.
    return 1 / inverse if inverse > 0 else bandwidth.ceiling(max(counts)).value * threads / max(counts)
