"""What was measured of a model on this machine, and what follows from it for the profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.bench.bandwidth import Bandwidth
from harness.bench.conditions import Conditions
from harness.bench.gguf_facts import ModelFacts
from harness.bench.prediction import Prediction, predict_decode
from harness.bench.roofline import Ceiling, DecodePoint, bottleneck, ceiling
from harness.bench.statistics import Interval, median_interval
from harness.bench.verdict import Judged, doubts_of_value, judge
from harness.profiles import Profile
from harness.results.verdict import Judgement
from harness.sizing.appliance_rules import Appliance
from harness.sizing.llama_bench import Timed
from harness.sizing.memory import Carried, carried
from harness.sizing.shapes import ModelShape

COLD_PROMPT = 4096
"""Tokens of the prompt that people are told the time of: a small request of a coding agent."""

COLD_FORMULA = "prompt tokens / prefill speed x operations a token, by those of the measured prompt"


@dataclass(frozen=True)
class Measured:
    """The measurements of one model: decoding with all threads and with fewer (None with one thread only),
    at a depth (None where the time did not allow it), reading a prompt. `bandwidth` is None where the probe
    could not be had; `bandwidth_note` then says why."""

    shape: ModelShape
    facts: ModelFacts
    appliance: Appliance
    decode: Timed
    fewer: Timed | None
    deep: Timed | None
    prefill: Timed
    bandwidth: Bandwidth | None
    bandwidth_note: str
    conditions: Conditions

    @property
    def decode_speed(self) -> Interval:
        """Tokens per second, nothing before them in the context."""
        return median_interval(self.decode.tokens_per_s)

    @property
    def prefill_speed(self) -> Interval:
        """Tokens per second."""
        return median_interval(self.prefill.tokens_per_s)

    @property
    def points(self) -> tuple[DecodePoint, ...]:
        """The decodes without depth, as the roofline takes them; the few tokens they have are no depth."""
        timed = [one for one in (self.decode, self.fewer) if one is not None]
        return tuple(DecodePoint(one.question.threads, median_interval(one.tokens_per_s)) for one in timed)

    def ceiling(self, depth: float = 0) -> Ceiling | None:
        """The best that decoding could be with the same threads; None where the bandwidth is unknown."""
        if self.bandwidth is None:
            return None
        return ceiling(self.facts, self.bandwidth, threads=self.decode.question.threads, depth=depth)

    def predict(self, cpus: int) -> Prediction | None:
        """Decoding with so many CPUs of this kind; None where the bandwidth is unknown."""
        if self.bandwidth is None:
            return None
        return predict_decode(self.facts, self.bandwidth, self.points, threads=cpus)

    @property
    def bottleneck(self) -> str:
        """A sentence: what holds decoding up."""
        if self.bandwidth is None:
            return f"What holds decoding up can't be said: the memory's bandwidth was {self.bandwidth_note}."
        return bottleneck(self.facts, self.bandwidth, self.points)

    @property
    def busy(self) -> tuple[str, ...]:
        """Why these speeds are not this machine's own: others used it too."""
        nothing = Profile("none", vcpus=0, ram_mib=0, disk_gib=0)
        return doubts_of_value("", self.conditions, nothing)

    @property
    def cold_tokens(self) -> int:
        """The length of the prompt whose time is told: COLD_PROMPT, or all that the model was trained for."""
        return min(COLD_PROMPT, self.shape.context)

    def cold_prompt(self) -> Interval:
        """Seconds until the first word of an answer to a prompt of `cold_tokens` that nothing of is cached.

        Attention to the tokens before makes a token of a long prompt dearer; it is taken to run at the speed
        of everything else.
        """
        speed, measured = self.prefill_speed, self.prefill.question.prompt
        dearer = (self.facts.prefill_flops(self.cold_tokens) / self.cold_tokens) / (
            self.facts.prefill_flops(measured) / measured
        )
        work = self.cold_tokens * dearer
        return Interval(work / speed.value, work / speed.high, work / speed.low, speed.n)


def profiles_carried(
    shape: ModelShape, appliance: Appliance, profiles: Sequence[Profile]
) -> tuple[Carried, ...]:
    """What each profile does with the model, and whether this machine is as large as it."""
    return tuple(
        carried(
            shape,
            profile,
            appliance.reserves,
            smallest=appliance.smallest_context,
            cores=appliance.prefill_threads,
            memory_kib=appliance.memory_kib,
        )
        for profile in profiles
    )


@dataclass(frozen=True)
class Target:
    """What was promised for a profile with this very model, and whether it is kept here."""

    profile: Profile
    at_least: float
    judged: Judged


def judge_targets(measured: Measured, profiles: Sequence[Carried]) -> tuple[Target, ...]:
    """The targets that were set for this model, each judged only where this machine is as large as its
    profile and nobody else used it."""
    judged = []
    for one in profiles:
        targets = one.profile.targets
        if targets is None or targets.model != measured.shape.name:
            continue
        doubts = (*([one.lacking] if one.lacking else []), *measured.busy)
        verdict = judge(measured.decode_speed, at_least=targets.decode_min, doubts=doubts)
        judged.append(Target(one.profile, targets.decode_min, verdict))
    return tuple(judged)


def judge_sizing_run(measured: Measured, targets: Sequence[Target]) -> Judgement:
    """The verdict of the whole run: FAIL when a target is missed, PASS when one is kept, INCONCLUSIVE when
    none could be judged. Without a target for this model a measurement that nobody disturbed is a PASS."""
    for verdict in ("FAIL", "PASS"):
        for target in targets:
            if target.judged.verdict == verdict:
                return Judgement(verdict, f"profile {target.profile.name}: {target.judged.reason}")
    if targets:
        reasons = "; ".join(f"{one.profile.name}: {one.judged.reason}" for one in targets)
        return Judgement("INCONCLUSIVE", f"measured, but no target could be judged: {reasons}")
    if measured.busy:
        return Judgement("INCONCLUSIVE", "; ".join(measured.busy))
    return Judgement("PASS", f"measured; profiles.yaml sets no target for {measured.shape.name}")
