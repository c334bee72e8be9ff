"""How fast a decode could be at best, given what memory can deliver, and how much of that was reached.

    tok/s = eta x BW / (weights + depth x KV bytes a token)

BW is what the bandwidth probe reads with as many threads on the same CPUs; eta is 1 for a decode that does
nothing but read. A decode well below it has another limit: arithmetic, or threads waiting for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.bench.bandwidth import WEAK_ETA, Bandwidth
from harness.bench.gguf_facts import ModelFacts
from harness.bench.memory_facts import Regime, fits_cache, regime_of
from harness.bench.statistics import Interval, ratio_interval
from harness.errors import HarnessError

CEILING_FORMULA = "bandwidth / (weights read a token + depth x KV bytes a token)"
ETA_FORMULA = "decode speed / roofline ceiling at the same depth and number of threads"

MEMORY_BOUND_ETA = WEAK_ETA
"""Share of the ceiling from which on memory is called the bottleneck."""

LINEAR_SCALING = 0.85
"""Share of the ideal gain by more threads from which on each thread is taken to work at its own pace."""


@dataclass(frozen=True)
class KvTypes:
    """ggml types of the KV cache, as llama.cpp names them."""

    key: str = "f16"
    value: str = "f16"


@dataclass(frozen=True)
class Ceiling:
    """The best that decode could be. `regime` "cache": the weights are partly in the cache, and the bandwidth
    was measured with just as much data; it is not the bandwidth of memory."""

    depth: float
    threads: int
    bytes_per_token: float
    gb_s: Interval
    tok_s: Interval
    regime: Regime


@dataclass(frozen=True)
class DecodePoint:
    """A measured decode: tokens per second with so many threads, and the mean depth of its tokens."""

    threads: int
    tok_s: Interval
    depth: float = 0


def mean_depth(start: int, tokens: int) -> float:
    """Tokens of context that `tokens` decoded ones have before them on average when the first has `start`."""
    if start < 0 or tokens < 1:
        raise ValueError(f"no decode has {tokens} tokens from depth {start}")
    return start + (tokens - 1) / 2


def ceiling(
    facts: ModelFacts, bandwidth: Bandwidth, *, threads: int, depth: float, kv: KvTypes | None = None
) -> Ceiling:
    """The ceiling of a decode with so many threads at this depth.

    Raises HarnessError when bandwidth was not measured with so many threads, or with a working set that says
    nothing of this model.
    """
    kv = kv or KvTypes()
    bytes_per_token = facts.decode_bytes_at(depth, kv.key, kv.value)
    regime = regime_of(facts.decode_bytes, bandwidth.working_set.cache_bytes)
    _require_same_regime(facts, bandwidth, regime)
    gb_s = bandwidth.ceiling(threads)
    return Ceiling(depth, threads, bytes_per_token, gb_s, scaled(gb_s, 1e9 / bytes_per_token), regime)


def reached(decode: Interval, limit: Ceiling) -> Interval:
    """eta: the decode's speed as a share of its ceiling; more than 1 means that the probe is wrong."""
    return scaled(decode, 1 / limit.tok_s.value)


def reached_in_rounds(decode_tok_s: Sequence[float], limits: Sequence[Ceiling]) -> Interval:
    """eta from rounds of a decode and a probe each, one right after the other: median of their ratios.

    What a host's neighbours leave of its memory changes by the minute; a round has both under the same
    conditions, where `reached` may compare a busy minute with a quiet one.
    """
    return ratio_interval(decode_tok_s, [limit.tok_s.value for limit in limits], paired=True)


def bottleneck(
    facts: ModelFacts, bandwidth: Bandwidth, decodes: Sequence[DecodePoint], kv: KvTypes | None = None
) -> str:
    """One sentence: what keeps the decode with the most threads from being faster."""
    if not decodes:
        raise ValueError("no decode was measured")
    most = max(decodes, key=lambda point: point.threads)
    limit = ceiling(facts, bandwidth, threads=most.threads, depth=most.depth, kv=kv)
    eta = reached(most.tok_s, limit).value
    cache_bytes = bandwidth.working_set.cache_bytes
    if fits_cache(facts.decode_bytes, cache_bytes):
        return (
            f"The {facts.decode_bytes / 1e6:,.0f} MB that a token reads fit the last-level cache of"
            f" {cache_bytes / 1e6:,.0f} MB: memory does not hold decoding up, faster or more CPUs help."
        )
    where = "memory" if limit.regime == "memory" else "the cache and memory together"
    head = f"With {most.threads} threads decode reads {eta:.0%} of what {where} can deliver"
    if eta > 1:
        return f"{head}, which cannot be: the bandwidth probe is wrong."
    if eta >= MEMORY_BOUND_ETA:
        return f"{head}: memory bandwidth is the bottleneck, more CPUs of this memory add little."
    fewer = [point for point in decodes if point.threads < most.threads and point.depth == most.depth]
    if not fewer:
        return f"{head}: memory bandwidth is not the bottleneck; what is takes a decode with fewer threads."
    least = min(fewer, key=lambda point: point.threads)
    gain = most.tok_s.value / least.tok_s.value
    ideal = most.threads / least.threads
    against = (
        f"{gain:.2f} times the speed of {least.threads} threads"
        if least.threads > 1
        else (f"{gain:.2f} times the speed of one thread")
    )
    if gain >= LINEAR_SCALING * ideal:
        return f"{head} and is {against}: each CPU's own pace is the bottleneck, more CPUs make it faster."
    return (
        f"{head} and is only {against}: neither memory nor arithmetic explains that; threads wait for each"
        " other, or something else has the CPUs."
    )


def prefill_gflops(facts: ModelFacts, tok_s: float, tokens: int, depth: int = 0) -> float:
    """10^9 floating point operations a second that a prefill of so many tokens at this speed performs."""
    return facts.prefill_flops(tokens, depth) / tokens * tok_s / 1e9


def scaled(interval: Interval, factor: float) -> Interval:
    """The interval with value and bounds multiplied by a positive factor."""
    return Interval(
        value=interval.value * factor,
        low=interval.low * factor,
        high=interval.high * factor,
        n=interval.n,
    )


def _require_same_regime(facts: ModelFacts, bandwidth: Bandwidth, regime: Regime) -> None:
    working_set = bandwidth.working_set
    fits = working_set.regime == regime and (
        regime == "memory" or abs(working_set.bytes - facts.decode_bytes) <= 0.05 * facts.decode_bytes
    )
    if not fits:
        raise HarnessError(
            f"bandwidth was measured by reading {working_set.bytes / 1e6:,.0f} MB over and over, which says"
            f" nothing of a model that reads {facts.decode_bytes / 1e6:,.0f} MB a token beside a cache of"
            f" {working_set.cache_bytes / 1e6:,.0f} MB",
            hint="give measure_bandwidth the model's decode_bytes",
        )
