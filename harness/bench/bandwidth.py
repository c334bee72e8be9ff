"""How many bytes a second the CPUs of a host or guest can read from memory: the ceiling of a decode's speed.

The probe tries several ways to read and runs ahead of ordinary processes where that is allowed; the best pass
of the best way counts, because everything that disturbs a pass makes it slower. It is only as good as its
last comparison with a real decode: one that reads faster proves the probe wrong.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from harness.bench.memory_facts import (
    Regime,
    WorkingSet,
    ask_memory,
    choose_working_set,
    fits_cache,
    regime_of,
)
from harness.bench.probe_program import build_probe
from harness.bench.shell import Shell
from harness.bench.statistics import Interval
from harness.errors import HarnessError

ROUNDS = 12
"""Timed passes of each kernel; one more before them warms up."""

WEAK_ETA = 0.7
"""Share of the ceiling below which a decode is a weak check of the probe: arithmetic holds it up."""

_UNDISTURBED_SHARE = 0.95
_EVERY_COUNT_TO = 4
_PROBE_S = 600

# Where it lies must allow execution, which /run and /tmp do not everywhere. It is removed before it runs: a
# killed one leaves nothing either.
_RUN_PROBE = """
set -e
program=$(mktemp --tmpdir="${HOME:-/root}" .bandwidth-probe-XXXXXX)
trap 'rm -f "${program}"' EXIT
cat >"${program}"
chmod 700 "${program}"
exec {opened}<"${program}"
rm -f "${program}"
"/proc/self/fd/${opened}" %s
"""


@dataclass(frozen=True)
class Reading:
    """Passes of one kernel with one number of threads, in GB/s (10^9 bytes).

    `pages`: "huge" where they were asked for and mostly given, else "small". `cpu_shares`: of each pass the
    least share of time that a thread really had its CPU; less than 1 where something else ran there.
    """

    threads: int
    kernel: str
    pages: Literal["huge", "small"]
    gb_s: tuple[float, ...]
    cpu_shares: tuple[float, ...]

    @property
    def best(self) -> float:
        return max(self.gb_s)

    @property
    def undisturbed(self) -> tuple[float, ...]:
        """Passes during which the threads had their CPUs; all of them where there is none."""
        passes = zip(self.gb_s, self.cpu_shares, strict=True)
        return tuple(speed for speed, share in passes if share >= _UNDISTURBED_SHARE) or self.gb_s


@dataclass(frozen=True)
class Bandwidth:
    """What the probe measured on these CPUs. `ahead`: it ran ahead of ordinary processes (real time)."""

    cpus: tuple[int, ...]
    working_set: WorkingSet
    ahead: bool
    readings: tuple[Reading, ...]

    @property
    def thread_counts(self) -> tuple[int, ...]:
        return tuple(sorted({reading.threads for reading in self.readings}))

    def best(self, threads: int, pages: Literal["huge", "small"] | None = None) -> Reading:
        """The reading with the fastest pass. Raises HarnessError when there is none with so many threads."""
        found = [
            reading
            for reading in self.readings
            if reading.threads == threads and pages in (None, reading.pages)
        ]
        if not found:
            counts = ", ".join(str(count) for count in self.thread_counts)
            raise HarnessError(f"memory bandwidth was measured with {counts} threads, not with {threads}")
        return max(found, key=lambda reading: reading.best)

    def ceiling(self, threads: int, pages: Literal["huge", "small"] | None = None) -> Interval:
        """GB/s: the fastest pass, down to the median of the same kernel's undisturbed passes."""
        reading = self.best(threads, pages)
        low = min(median(reading.undisturbed), reading.best)
        return Interval(value=reading.best, low=low, high=reading.best, n=len(reading.gb_s))


@dataclass(frozen=True)
class ProbeCheck:
    """`sound` is None where the decode says nothing about the probe. `eta`: decode by ceiling."""

    sound: bool | None
    eta: float
    reason: str


def measure_bandwidth(
    run: Shell,
    *,
    cpus: Sequence[int] | None = None,
    threads: Sequence[int] | None = None,
    decode_bytes: float | None = None,
    kernels: Sequence[str] = (),
    rounds: int = ROUNDS,
) -> Bandwidth:
    """Measure where `run` runs commands: `run_on_host`, or the `run` of a machine.

    `cpus` are the ones to use, by number (all that are allowed); `threads` the numbers of threads (see
    `thread_steps`), each on a CPU of its own. `decode_bytes` is what the decode reads a token, whose ceiling
    this is for: where it fits the cache in part, the probe reads just as much. All CPUs are busy for about
    5 s at 2 CPUs, half of the time ahead of everything else where that is allowed.

    Raises HarnessError when memory is short (with the sum), CPUs are not there, or the probe fails.
    """
    facts = ask_memory(run)
    chosen = tuple(facts.cpus if cpus is None else cpus)
    if not chosen or not set(chosen) <= set(facts.cpus):
        allowed = ",".join(str(cpu) for cpu in facts.cpus)
        raise HarnessError(f"the bandwidth probe may run on the CPUs {allowed}, not on all of {list(chosen)}")
    working_set = choose_working_set(facts, chosen, decode_bytes)
    options = {
        "--bytes": str(working_set.bytes),
        "--cpus": _listed(chosen),
        "--threads": _listed(threads or thread_steps(len(chosen))),
        "--rounds": str(rounds + 1),
        **({"--kernels": ",".join(kernels)} if kernels else {}),
    }
    printed = _run_probe(run, build_probe(), options)
    return parse_probe(printed, cpus=chosen, working_set=working_set)


def thread_steps(cpus: int) -> tuple[int, ...]:
    """Numbers of threads worth measuring on so many CPUs: each up to 4, then steps of a third to a half."""
    steps = set(range(1, min(cpus, _EVERY_COUNT_TO) + 1))
    for power in itertools.takewhile(lambda power: power <= cpus, (4 << n for n in range(16))):
        steps.update({power, power + power // 2})
    return tuple(sorted({step for step in steps if step <= cpus} | {cpus}))


def parse_probe(printed: str, *, cpus: tuple[int, ...], working_set: WorkingSet) -> Bandwidth:
    """The measurement from what the probe printed. Raises HarnessError when it is not that."""
    try:
        document = json.loads(printed)
        readings = tuple(_reading(entry, working_set.bytes) for entry in document["series"])
        return Bandwidth(cpus, working_set, ahead=bool(document["realtime"]), readings=readings)
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"the bandwidth probe printed something else than its results: {error}") from error


def combined(measurements: Iterable[Bandwidth]) -> Bandwidth:
    """Several measurements of the same thing as one with all their passes; measure before, between and after
    decodes, because what a host's neighbours leave of its memory changes from minute to minute.

    Raises HarnessError when they were not made on the same CPUs with the same working set.
    """
    all_of_them = list(measurements)
    first = all_of_them[0]
    if any((other.cpus, other.working_set) != (first.cpus, first.working_set) for other in all_of_them):
        raise HarnessError("bandwidth measurements of different CPUs or working sets can't be put together")
    together: dict[tuple[int, str, str], Reading] = {}
    for reading in itertools.chain.from_iterable(other.readings for other in all_of_them):
        key = (reading.threads, reading.kernel, reading.pages)
        before = together.get(key)
        together[key] = (
            reading
            if before is None
            else replace(
                before,
                gb_s=before.gb_s + reading.gb_s,
                cpu_shares=before.cpu_shares + reading.cpu_shares,
            )
        )
    return replace(first, ahead=all(other.ahead for other in all_of_them), readings=tuple(together.values()))


def check_against_decode(
    bandwidth: Bandwidth, decode_tok_s: float, bytes_per_token: float, *, threads: int
) -> ProbeCheck:
    """Whether the probe survives a real decode with so many threads on the same CPUs at the same time.

    Nothing reads faster than the ceiling: a decode that does proves the probe wrong, by however little. Give
    the best of the decode's samples, since the ceiling is the best of the probe's. A decode whose bytes fit
    the cache proves nothing either way: it hardly reads memory.
    """
    ceiling = bandwidth.ceiling(threads).value
    reached = decode_tok_s * bytes_per_token / 1e9
    eta = reached / ceiling
    compared = (
        f"the decode read {reached:.1f} GB/s ({decode_tok_s:.4g} tok/s x {bytes_per_token / 1e9:.4g} GB),"
        f" the probe {ceiling:.1f} GB/s with {threads} threads"
    )
    cache_bytes = bandwidth.working_set.cache_bytes
    if fits_cache(bytes_per_token, cache_bytes):
        return ProbeCheck(
            None,
            eta,
            f"{compared}: this decode says nothing of the probe, because the {bytes_per_token / 1e6:,.0f} MB"
            f" that a token reads fit the last-level cache of {cache_bytes / 1e6:,.0f} MB; a larger model can"
            " tell",
        )
    theirs: Regime = regime_of(bytes_per_token, cache_bytes)
    if theirs == "cache" and bytes_per_token < 0.95 * bandwidth.working_set.bytes:
        return ProbeCheck(
            None,
            eta,
            f"{compared}: this decode says nothing of the probe, because it finds part of its weights in the"
            " cache; measure with decode_bytes",
        )
    if eta > 1:
        return ProbeCheck(False, eta, f"{compared}: the probe is wrong, it understates by {eta - 1:.1%}")
    told = f"{compared}: {eta:.0%} of the ceiling"
    if eta < WEAK_ETA:
        told += f", so that a probe that understates up to {1 / eta:.1f} times would not be found out"
    return ProbeCheck(True, eta, told)


def _reading(entry: Mapping[str, Any], working_set_bytes: int) -> Reading:
    passes = [(float(speed), float(share)) for speed, share in entry["passes"]]
    huge = entry["pages"] == "huge" and int(entry["huge_kib"]) * 1024 >= working_set_bytes / 2
    return Reading(
        threads=int(entry["threads"]),
        kernel=str(entry["kernel"]),
        pages="huge" if huge else "small",
        gb_s=tuple(speed for speed, _ in passes),
        cpu_shares=tuple(share for _, share in passes),
    )


def _run_probe(run: Shell, program: Path, options: Mapping[str, str]) -> str:
    words = " ".join(f"{name} {value}" for name, value in options.items())
    result = run(_RUN_PROBE % words, timeout=_PROBE_S, input=program.read_bytes())
    if result.exit_status != 0:
        said = result.stderr.strip().splitlines() or [f"exit status {result.exit_status}"]
        raise HarnessError(f"the bandwidth probe failed: {said[-1]}")
    return result.stdout


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(str(number) for number in numbers)
