"""The rounds that were measured of an appliance at an address."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from harness.bench.prompts import Calibration, calibrate, cold_prompt, count_by
from harness.bench.statistics import median
from harness.bench.wire import Connection, Failure, appliance_target, open_connection
from harness.cell.fixtures import session_of
from harness.cell.record import ONLY_INSIDE
from harness.client.https import ApplianceAddress
from harness.profiles import Profile, find_profile, load_profiles
from harness.terminal import say
from suites.acceptance.short_plan import Fitting, ShortPlan, fit, load_short_plan
from suites.benchmark.campaign import Campaign, Point, Value, run_rounds
from suites.benchmark.recording import Recorder
from suites.benchmark.requests import Prompts, Way, chat_point

APPLIANCE = "appliance"
CONNECTIONS = 10
PROBE_TOKENS = 48
TOO_LONG = 400
"""The status by which a prompt is refused that the appliance's context has no room for."""


@dataclass(frozen=True)
class Accepted:
    """What was measured, and what was left out of it and why."""

    campaign: Campaign
    fitting: Fitting
    refused: tuple[int, ...]
    connect_s: tuple[float, ...]
    tls_s: tuple[float, ...]

    @property
    def prompt_tokens(self) -> tuple[int, ...]:
        return tuple(size for size in self.fitting.prompt_tokens if size not in self.refused)

    @property
    def left_out(self) -> tuple[str, ...]:
        refused = (f"prompts of {size} tokens: the appliance refuses them" for size in self.refused)
        return (*self.fitting.left_out, *refused)


@dataclass
class Speeds:
    """What the first requests told."""

    calibration: Calibration
    read_s: float
    token_s: float


@dataclass
class Refusals:
    """Lengths of prompts that the appliance's context is too small for."""

    sizes: list[int] = field(default_factory=list)

    def watched(self, point: Point, size: int) -> Point:
        """The point, whose refusals are kept here instead of being failures."""

        def run(number: int) -> Iterable[Value | Failure]:
            if size in self.sizes:
                return
            for outcome in point.run(number):
                if isinstance(outcome, Failure) and outcome.status == TOO_LONG:
                    self.sizes.append(size)
                    return
                yield outcome

        return Point(point.title, run)


@pytest.fixture(scope="session")
def plan() -> ShortPlan:
    return load_short_plan()


@pytest.fixture(scope="session")
def way(appliance: ApplianceAddress) -> Way:
    return Way(APPLIANCE, appliance_target(appliance), appliance.model)


@pytest.fixture(scope="session")
def profile(request: pytest.FixtureRequest) -> Profile | None:
    """The profile whose promises were asked for; None where none was named."""
    name = session_of(request.config).options.profile
    return find_profile(name) if name in load_profiles() else None


@pytest.fixture(scope="session")
def accepted(
    way: Way, plan: ShortPlan, record_conditions: Callable[[Mapping[str, object]], None]
) -> Accepted:
    # Another seed each time: what an earlier run asked is in the appliance's prompt cache.
    seed = secrets.randbelow(2**31)
    connections = connect_times(way)
    speeds = first_speeds(way, seed)
    fitting = fit(plan, read_s=speeds.read_s, token_s=speeds.token_s)
    prompts, refusals = Prompts(speeds.calibration, seed), Refusals()
    points = [
        refusals.watched(chat_point(way, prompts, size, plan.answer_tokens), size)
        for size in fitting.prompt_tokens
    ]
    campaign = run_rounds(
        points, rounds=plan.rounds, warm_up=plan.warm_up, seed=seed, tell=lambda line: say(f"  {line}", "dim")
    )
    found = Accepted(
        campaign,
        fitting,
        tuple(refusals.sizes),
        tuple(one.connect_s for one in connections),
        tuple(one.tls_s or 0.0 for one in connections),
    )
    record_conditions(
        {
            "seed": seed,
            "left_out": "; ".join(found.left_out) or "nothing",
            ONLY_INSIDE: "; ".join(plan.only_inside),
        }
    )
    return found


def connect_times(way: Way) -> list[Connection]:
    """Connections that were opened one after the other, and closed without a request."""
    found = []
    for _ in range(CONNECTIONS):
        opened = open_connection(way.target, timeout_s=30)
        assert isinstance(opened, Connection), f"no connection: {opened.kind}: {opened.detail}"
        opened.close()
        found.append(opened)
    return found


def first_speeds(way: Way, seed: int) -> Speeds:
    """How long reading and answering take, from as few requests as tell it."""
    calibration = calibrate(count_by(way.target, model=way.model, timeout_s=600), seed=seed)
    timing = way.ask(cold_prompt(calibration, PROBE_TOKENS, index=0, seed=seed + 1), 8)
    assert not isinstance(timing, Failure), f"the appliance did not answer: {timing.kind}: {timing.detail}"
    answered_s = (timing.e2e_s - timing.ttft_s) / max(1, timing.tokens_out - 1)
    return Speeds(calibration, timing.ttft_s / timing.prompt_tokens, answered_s)


@pytest.fixture(scope="session")
def values(record_metric: Callable[..., None]) -> Recorder:
    """Nothing is known of the appliance's host, so nothing speaks against what was measured either."""
    return Recorder(record_metric, (), seed=0)


def is_near(accepted: Accepted, cold_ttft_s: list[float], share: float) -> bool:
    """Whether the way to the appliance is short beside what is measured."""
    return median(accepted.connect_s) <= share * median(cold_ttft_s)
