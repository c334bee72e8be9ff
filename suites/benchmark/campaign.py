"""Rounds of measurements, each point once a round, in another order every round.

What slows the host for a while then slows all points alike, and two values of the same round are a pair.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.bench.wire import Failure
from harness.results.model import Label

Labels = Mapping[str, Label]
Key = tuple[str, tuple[tuple[str, Label], ...]]


@dataclass(frozen=True)
class Value:
    """What one try of a point says of one series; several values where it has many (gaps between tokens)."""

    name: str
    unit: str
    labels: Labels
    values: tuple[float, ...]

    @property
    def key(self) -> Key:
        return key(self.name, self.labels)


@dataclass(frozen=True)
class Point:
    """Something to measure. `run` gets the round's number, below 0 in warm-up rounds."""

    title: str
    run: Callable[[int], Iterable[Value | Failure]]


@dataclass
class Campaign:
    """What was measured: by series and round."""

    by_round: dict[Key, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    units: dict[Key, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def samples(self, name: str, **labels: Label) -> list[float]:
        """One value a round: those with several are left to `all_values`."""
        rounds = self.by_round.get(key(name, labels), {})
        return [values[0] for _, values in sorted(rounds.items())]

    def rounds_of(self, name: str, **labels: Label) -> dict[int, tuple[float, ...]]:
        """The values of a series by round."""
        return self.by_round.get(key(name, labels), {})

    def all_values(self, name: str, **labels: Label) -> list[float]:
        """Every value, round after round."""
        return [value for _, values in sorted(self.rounds_of(name, **labels).items()) for value in values]

    def pairs(self, above: tuple[str, Labels], below: tuple[str, Labels]) -> tuple[list[float], list[float]]:
        """Values of two series in the rounds that have both."""
        one, other = self.by_round.get(key(*above), {}), self.by_round.get(key(*below), {})
        both = sorted(one.keys() & other.keys())
        return [one[number][0] for number in both], [other[number][0] for number in both]

    def series(self) -> Iterable[tuple[str, str, dict[str, Label], dict[int, tuple[float, ...]]]]:
        """All of them: name, unit, labels, values by round."""
        for (name, labels), rounds in self.by_round.items():
            yield name, self.units[name, labels], dict(labels), rounds


def key(name: str, labels: Labels) -> Key:
    return name, tuple(sorted(labels.items()))


def run_rounds(
    points: Sequence[Point], *, rounds: int, warm_up: int, seed: int, tell: Callable[[str], None]
) -> Campaign:
    """Measure every point in each round; warm-up rounds leave nothing but their failures."""
    campaign = Campaign()
    order = random.Random(seed)
    for number in range(-warm_up, rounds):
        for point in order.sample(list(points), len(points)):
            tell(f"{'warm-up' if number < 0 else f'round {number + 1} of {rounds}'}: {point.title}")
            for outcome in point.run(number):
                _keep(campaign, point, number, outcome)
    return campaign


def _keep(campaign: Campaign, point: Point, number: int, outcome: Value | Failure) -> None:
    if isinstance(outcome, Failure):
        campaign.failures.append(f"{point.title}: {outcome.kind}: {outcome.detail}")
    elif number >= 0 and outcome.values:
        campaign.units[outcome.key] = outcome.unit
        campaign.by_round.setdefault(outcome.key, {})[number] = outcome.values
