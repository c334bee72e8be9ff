"""Bandwidth measurements with given speeds, for tests of what is made of them."""

from collections.abc import Mapping, Sequence

from harness.bench.bandwidth import Bandwidth, Reading
from harness.bench.gguf_facts import ModelFacts
from harness.bench.memory_facts import WorkingSet
from harness.bench.statistics import Interval
from harness.locations import MIB

CACHE = 32 * MIB


def reading(threads: int, *gb_s: float, kernel: str = "avx2", pages: str = "huge") -> Reading:
    """A reading with these passes, all undisturbed."""
    return Reading(threads, kernel, "huge" if pages == "huge" else "small", gb_s, (1.0,) * len(gb_s))


def bandwidth(
    speeds: Mapping[int, Sequence[float]], *, working_set: int = 512 * MIB, cache: int = CACHE
) -> Bandwidth:
    """A measurement with these passes for each number of threads."""
    return Bandwidth(
        cpus=tuple(range(max(speeds))),
        working_set=WorkingSet(working_set, cache),
        ahead=True,
        readings=tuple(reading(threads, *passes) for threads, passes in speeds.items()),
    )


def exactly(value: float) -> Interval:
    """A value without doubt."""
    return Interval(value=value, low=value, high=value, n=5)


DEVSTRAL = ModelFacts(
    name="24B",
    architecture="llama",
    weights_bytes=14_329_607_552,
    decode_bytes=14_000_000_000,
    parameters=23_570_000_000,
    layer_parameters=22_000_000_000,
    output_parameters=671_088_640,
    tied_output=False,
    layers=40,
    heads=32,
    kv_heads=(8,) * 40,
    key_length=128,
    value_length=128,
    context_length=32768,
)
"""Sizes like those of the 24B model, with a round number of bytes read a token."""
