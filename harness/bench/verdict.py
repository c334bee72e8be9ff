"""From an interval and a target to a verdict with its reason in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.bench.conditions import Conditions
from harness.bench.statistics import Interval
from harness.memory_for_programs import programs_mib
from harness.profiles import Profile
from harness.results.model import Verdict

FEWEST_SAMPLES = 5
"""Of fewer no interval has 95 %: from the smallest to the largest of 4 samples it is 87.5 %."""

MOST_STEAL = 0.01
"""Share of the time CPUs wanted to run that the hypervisor may give to others."""

MOST_OTHERS = 0.05
"""Share of the host's cores that others may keep busy. They compete for the memory's bandwidth as well, so
that free cores don't make up for them."""


@dataclass(frozen=True)
class Judged:
    """A verdict and the words that say why."""

    verdict: Verdict
    reason: str


def judge(
    interval: Interval,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    doubts: Sequence[str] = (),
) -> Judged:
    """PASS when the whole interval keeps the target (its bound included), FAIL when the whole of it misses
    it, INCONCLUSIVE when it straddles it, has fewer than 5 samples, or there are `doubts` about the
    measurement.

    Raises ValueError without a target, and for one that no value can keep.
    """
    if at_least is None and at_most is None:
        raise ValueError("nothing to judge by: give at_least or at_most")
    if at_least is not None and at_most is not None and at_least > at_most:
        raise ValueError(f"nothing is at least {at_least:g} and at most {at_most:g}")
    wanted = " and ".join(
        f"{word} {bound:.4g}"
        for word, bound in (("at least", at_least), ("at most", at_most))
        if bound is not None
    )
    measured = f"{interval.low:.4g} to {interval.high:.4g}"
    too_low = at_least is not None and interval.high < at_least
    too_high = at_most is not None and interval.low > at_most
    kept = (at_least is None or interval.low >= at_least) and (at_most is None or interval.high <= at_most)
    open_because = list(doubts)
    if interval.n < FEWEST_SAMPLES:
        samples = "sample" if interval.n == 1 else "samples"
        open_because.append(f"only {interval.n} {samples}, at least {FEWEST_SAMPLES} are needed")
    elif not (kept or too_low or too_high):
        open_because.append(f"the interval {measured} straddles the target of {wanted}")
    if open_because:
        return Judged("INCONCLUSIVE", "; ".join(open_because))
    if kept:
        return Judged("PASS", f"{measured} is {wanted}")
    return Judged("FAIL", f"{measured} is too {'low' if too_low else 'high'}: {wanted} is wanted")


def doubts_of_ratio(accelerator: str) -> tuple[str, ...]:
    """Why a ratio of two things measured side by side can't be judged. What slows both cancels out; under
    emulation the two aren't slowed alike."""
    if accelerator == "tcg":
        return ("measured under emulation (TCG), where no speed means anything",)
    return ()


def doubts_of_value(accelerator: str, conditions: Conditions, profile: Profile) -> tuple[str, ...]:
    """Why an absolute speed or time, measured in a guest of this profile, can't be judged: emulation, a host
    that others used too, or one that has less than the profile.

    Of its memory a host may lack what its kernel keeps (programs_mib): a host of 24 GiB shows 23.4, and a
    profile of 24 GiB is one that such a host was bought for.
    """
    doubts = list(doubts_of_ratio(accelerator))
    if conditions.cores < profile.vcpus:
        doubts.append(
            f"profile {profile.name} has {profile.vcpus} vCPUs, this host only {conditions.cores} cores"
        )
    if conditions.ram_mib < programs_mib(profile.ram_mib):
        doubts.append(
            f"profile {profile.name} has {profile.ram_mib} MiB of RAM, this host only {conditions.ram_mib}"
        )
    if conditions.steal_share > MOST_STEAL:
        doubts.append(
            f"the host is oversubscribed: {conditions.steal_share:.1%} of the CPU time was stolen, "
            f"at most {MOST_STEAL:.0%} may be"
        )
    most = MOST_OTHERS * conditions.cores
    if conditions.others_cores > most:
        doubts.append(
            f"the host is oversubscribed: others used {conditions.others_cores:.2f} of its "
            f"{conditions.cores} cores, at most {most:.2g} may be"
        )
    return tuple(doubts)


def doubts_of_model(target: str, *measured: str) -> tuple[str, ...]:
    """Why a target that was set for one model says nothing about another. `measured` is what the image says
    of its model: id, name, file. It is the target's when it has each of the target's words and numbers."""
    if _words(target) <= _words(" ".join(measured)):
        return ()
    told = next((one for one in measured if one), "unknown")
    return (f"the target was set for {target}, the model here is {told}",)


def judge_sizing(
    decode: Interval,
    profile: Profile,
    conditions: Conditions,
    *,
    accelerator: str,
    model: Iterable[str],
    doubts: Sequence[str] = (),
) -> Judged | None:
    """Whether single-stream decoding (tok/s) reaches what the profile promises at least; None where it
    promises nothing. INCONCLUSIVE unless the host carries the profile and the model is the one it was set
    for, and with `doubts`: why the guest hadn't the profile's hardware."""
    if profile.targets is None:
        return None
    every_doubt = (
        *doubts_of_value(accelerator, conditions, profile),
        *doubts,
        *doubts_of_model(profile.targets.model, *model),
    )
    return judge(decode, at_least=profile.targets.decode_min, doubts=every_doubt)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))
