"""What the benchmark's checks share: the plan, the two ways to the engine, the rounds that were measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from harness.bench.conditions import Conditions, measured_window
from harness.bench.direct import inside
from harness.bench.enforced_profile import enforced_profile
from harness.bench.engine_bench import EngineTest
from harness.bench.prompts import calibrate, cold_prompt, count_by
from harness.bench.verdict import doubts_of_ratio, doubts_of_value
from harness.bench.wire import Target, appliance_target
from harness.cell.options import CellOptions
from harness.cell.session import FLAVOR_FILE
from harness.client.https import ApplianceAddress
from harness.machine.limits_read_back import ReadBack
from harness.machine.protocol import Machine
from harness.profiles import Profile, find_profile
from harness.terminal import say
from suites.benchmark.budget import Budget, fit_budget
from suites.benchmark.campaign import Campaign, Point, run_rounds
from suites.benchmark.engine_tests import bench_point, bench_speed
from suites.benchmark.plan import BenchPlan, load_plan
from suites.benchmark.recording import Recorder
from suites.benchmark.requests import (
    InTurn,
    Prompts,
    Way,
    chat_point,
    clients_point,
    decode_pairs_point,
    session_point,
    small_point,
)
from suites.conformance.engine_loopback import WITH_ENGINE, engine_can
from suites.conformance.guest_facts import output

APPLIANCE, ENGINE = "appliance", "engine"
ENGINE_PORT = 8080


@dataclass(frozen=True)
class Measured:
    """The rounds, what the host was like meanwhile, and what was left out of them."""

    campaign: Campaign
    conditions: Conditions
    budget: Budget


@pytest.fixture(scope="session")
def plan() -> BenchPlan:
    return load_plan()


@pytest.fixture(scope="session")
def profile(cell: CellOptions) -> Profile:
    return find_profile(cell.profile)


@pytest.fixture(scope="session")
def enforced(
    machine: Machine, profile: Profile, record_conditions: Callable[[Mapping[str, object]], None]
) -> ReadBack:
    """The profile's hardware as the kernel enforces it and as the guest sees it."""
    found = enforced_profile(machine, profile)
    record_conditions({**found.conditions, "profile_lacks": "; ".join(found.lacks) or "nothing"})
    return found


@pytest.fixture(scope="session")
def ways(machine: Machine, appliance: ApplianceAddress) -> Iterator[tuple[Way, Way]]:
    """Through Nginx and TLS, and straight to the engine's port on the guest's loopback."""
    with inside(machine, ENGINE_PORT) as connect:
        direct = Target(
            connect=connect,
            tls=None,
            server_name="",
            host_header="127.0.0.1",
            # the engine's own key, where it has one
            authorization=output(machine, f"{WITH_ENGINE} engine_authorization").strip(),
        )
        both = (
            Way(APPLIANCE, appliance_target(appliance), appliance.model),
            Way(ENGINE, direct, appliance.model),
        )
        yield both


@pytest.fixture(scope="session")
def context_size(report: Mapping[str, Mapping[str, str]]) -> int:
    """Tokens that prompt and answer may have together."""
    return int(report["engine"]["context_size"])


@pytest.fixture(scope="session")
def own_bench(machine: Machine) -> bool:
    """Whether the engine brings a benchmark."""
    return engine_can(machine, "bench")


@pytest.fixture(scope="session")
def measured(
    machine: Machine,
    ways: tuple[Way, Way],
    plan: BenchPlan,
    context_size: int,
    own_bench: bool,
    record_conditions: Callable[[Mapping[str, object]], None],
) -> Measured:
    """All points that are compared with each other, in rounds; the longest part of a benchmark."""
    through, direct = ways
    prompts = Prompts(
        calibrate(count_by(direct.target, model=direct.model, timeout_s=600), seed=plan.seed), plan.seed
    )
    budget = fit_budget(plan, context_size, direct, prompts, own_bench=own_bench)
    with measured_window() as window:
        campaign = run_rounds(
            _points(machine, through, direct, prompts, plan, budget),
            rounds=plan.rounds,
            warm_up=plan.warm_up,
            seed=plan.seed,
            tell=lambda line: say(f"  {line}", "dim"),
        )
    record_conditions(window.conditions.as_labels())
    return Measured(campaign, window.conditions, budget)


def _points(
    machine: Machine, through: Way, direct: Way, prompts: Prompts, plan: BenchPlan, budget: Budget
) -> list[Point]:
    both = (through, direct)
    small = cold_prompt(prompts.calibration, 24, index=0, seed=plan.seed + 1)
    test = EngineTest("decode", plan.plain_tokens, depth=24)

    return [
        *(
            chat_point(through, prompts, size, plan.answer_tokens, warms_up=size <= plan.warm_up_tokens)
            for size in budget.prompt_tokens
        ),
        *(
            chat_point(direct, prompts, size, plan.answer_tokens)
            for size in plan.engine_prompt_tokens
            if size in budget.prompt_tokens
        ),
        *(
            clients_point(through, prompts, clients, plan.client_prompt_tokens, plan.answer_tokens)
            for clients in plan.clients
        ),
        small_point(both, small, plan.small_pairs),
        decode_pairs_point(
            both,
            (lambda: bench_speed(machine, test)) if budget.own_bench else None,
            small,
            InTurn(plan.decode_pairs_s, plan.decode_pairs, plan.decode_pair_tokens, plan.plain_tokens),
        ),
        *(bench_point(machine, one) for one in _bench_tests(plan, budget)),
        *([session_point(through, plan.sessions["turns"], budget.session_tokens, plan.seed)]
          if budget.session_tokens else []),
    ]  # fmt: skip


def _bench_tests(plan: BenchPlan, budget: Budget) -> list[EngineTest]:
    """What the engine's own benchmark measures in each round."""
    if not budget.own_bench:
        return []
    bench = plan.llama_bench
    depths = [depth for depth in bench["depths"] if depth <= max(budget.prompt_tokens)]
    return [
        *(EngineTest("decode", bench["decode_tokens"], depth=depth) for depth in depths),
        EngineTest("prefill", bench["prefill_tokens"]),
    ]


@pytest.fixture(scope="session")
def image_model(machine: Machine) -> str:
    """What the image says of its model: its id, name and file."""
    told = machine.run(f"cat {FLAVOR_FILE}").stdout
    return " ".join(line.partition("=")[2] for line in told.splitlines() if "MODEL" in line)


@pytest.fixture(scope="session")
def ratios(record_metric: Callable[..., None], machine: Machine, plan: BenchPlan) -> Recorder:
    """For figures that compare things which were measured side by side."""
    return Recorder(record_metric, doubts_of_ratio(machine.accelerator), plan.seed)


@pytest.fixture(scope="session")
def values(
    record_metric: Callable[..., None],
    machine: Machine,
    plan: BenchPlan,
    measured: Measured,
    profile: Profile,
    enforced: ReadBack,
) -> Recorder:
    """For figures that stand for themselves."""
    doubts = (
        *doubts_of_value(machine.accelerator, measured.conditions, profile),
        *enforced.lacks,
        *enforced.doubts,
    )
    return Recorder(record_metric, doubts, plan.seed)
