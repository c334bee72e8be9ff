"""Two appliances measured in turns, request by request: what slows the host slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from harness.bench.prompts import Calibration, asked_again, calibrate, chat_body, cold_prompt, count_by
from harness.bench.seeded_text import seeded
from harness.bench.statistics import MEDIAN_FORMULA, median_interval, outliers
from harness.bench.timeline import FORMULAS, Timing, measure
from harness.bench.verdict import FEWEST_SAMPLES
from harness.bench.wire import Failure, Target
from harness.results.model import Better, Label, Metric

ROUNDS = 8
"""Measured; one more before them is thrown away."""

BUDGET_S = 300.0
"""After so many seconds no further round begins, once there are as many as a verdict needs."""

PROMPT_TOKENS = (128, 512)
ANSWER_TOKENS = 48

UNITS: Mapping[str, tuple[str, Better]] = {
    "ttft": ("s", "lower"),
    "e2e": ("s", "lower"),
    "decode_speed": ("tok/s", "higher"),
    "prefill_speed": ("tok/s", "higher"),
}


@dataclass(frozen=True)
class Side:
    """One of the two: what people call it, where it is asked, and its model's name."""

    name: str
    target: Target
    model: str


@dataclass
class Pairs:
    """Samples of both sides, the i-th of one next to the i-th of the other; what failed, and why there are
    fewer rounds than were asked for, in words."""

    samples: dict[tuple[str, int, str], list[tuple[float, float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stopped: str = ""

    def metrics(self, side: int) -> tuple[Metric, ...]:
        """The metrics of side 0 or 1."""
        return tuple(
            _metric(
                name,
                {"path": "appliance", "prompt_tokens": tokens, "state": state},
                [one[side] for one in pairs],
            )
            for (name, tokens, state), pairs in self.samples.items()
        )


def measure_in_turns(
    sides: tuple[Side, Side],
    *,
    timeout_s: float,
    rounds: int = ROUNDS,
    prompt_tokens: Sequence[int] = PROMPT_TOKENS,
    seed: int = 0,
    budget_s: float = BUDGET_S,
    on_progress: Callable[[int, int], None] | None = None,
) -> Pairs:
    """Ask both the same, one right after the other, in random order: each prompt length cold, then with the
    prefix warm. A pair of which one failed is left out on both sides.

    Args:
        timeout_s: seconds for each request.
        budget_s: seconds after which no further round begins when FEWEST_SAMPLES of them were measured.
        on_progress: told how many rounds of how many are done.

    Raises:
        HarnessError: a side does not answer at all.
    """
    began = time.monotonic()
    calibrations = [_calibrated(side, timeout_s, seed) for side in sides]
    order = seeded(seed, "order of the turns")
    pairs = Pairs()
    for index in range(rounds + 1):
        if index > FEWEST_SAMPLES and time.monotonic() - began > budget_s:
            pairs.stopped = f"{index - 1} of {rounds} rounds were measured: {budget_s:.0f} s were over"
            break
        for tokens in _shuffled(order, prompt_tokens):
            asked: dict[int, dict[str, Timing | Failure]] = {}
            for place in _shuffled(order, (0, 1)):
                asked[place] = _ask(sides[place], calibrations[place], tokens, index, seed, timeout_s)
            if index:
                _keep(pairs, sides, tokens, asked)
        if on_progress is not None:
            on_progress(index + 1, rounds + 1)
    return pairs


def _calibrated(side: Side, timeout_s: float, seed: int) -> Calibration:
    return calibrate(count_by(side.target, model=side.model, timeout_s=timeout_s), seed=seed)


def _ask(
    side: Side, calibration: Calibration, tokens: int, index: int, seed: int, timeout_s: float
) -> dict[str, Timing | Failure]:
    cold = cold_prompt(calibration, tokens, index=index, seed=seed)
    prompts = {"cold": cold, "warm": asked_again(cold, index=index, seed=seed)}
    return {
        state: measure(
            side.target,
            chat_body(prompt.messages, model=side.model, max_tokens=ANSWER_TOKENS),
            timeout_s=timeout_s,
        )
        for state, prompt in prompts.items()
    }


def _keep(
    pairs: Pairs, sides: tuple[Side, Side], tokens: int, asked: Mapping[int, Mapping[str, Timing | Failure]]
) -> None:
    for state in ("cold", "warm"):
        outcomes = [asked[place][state] for place in (0, 1)]
        for side, outcome in zip(sides, outcomes, strict=True):
            if isinstance(outcome, Failure):
                told = f"{side.name}: a {state} prompt of {tokens} tokens: {outcome.kind}: {outcome.detail}"
                pairs.failures.append(told)
        before, after = (_figures(outcome, state) for outcome in outcomes)
        for name in before.keys() & after.keys():
            pairs.samples.setdefault((name, tokens, state), []).append((before[name], after[name]))


def _figures(outcome: Timing | Failure, state: str) -> dict[str, float]:
    """What one answer says by name; nothing of a failure."""
    if isinstance(outcome, Failure):
        return {}
    if state == "warm":
        return {"ttft": outcome.ttft_s}
    figures = {"ttft": outcome.ttft_s, "e2e": outcome.e2e_s, "prefill_speed": outcome.prefill_tok_s}
    decode = outcome.decode_tok_s
    return figures if decode is None else {**figures, "decode_speed": decode}


def _metric(name: str, labels: Mapping[str, Label], samples: Sequence[float]) -> Metric:
    interval = median_interval(samples)
    unit, better = UNITS[name]
    return Metric(
        name,
        unit,
        interval.value,
        interval.low,
        interval.high,
        interval.n,
        labels=labels,
        samples=tuple(samples),
        outliers=outliers(samples),
        better=better,
        formula=f"{FORMULAS[name]}; {MEDIAN_FORMULA}",
    )


def _shuffled(order: Random, things: Sequence[int]) -> list[int]:
    return order.sample(things, len(things))
