"""What of the plan fits into the time there is, told from how fast this guest reads."""

from __future__ import annotations

from dataclasses import dataclass

from harness.bench.timeline import Timing
from harness.bench.wire import Failure
from harness.errors import HarnessError
from suites.benchmark.plan import BenchPlan
from suites.benchmark.requests import Prompts, Way

PROBE_TOKENS = (256, 1024)
"""A longer prompt tells how much slower the engine reads behind what it has read."""
TRIES = 3
PATIENCE_S = 5.0
"""The longer probe is left out where the shorter one takes more: a large model, to which attention is
little."""

NO_BENCH = "what is compared with the engine's own benchmark: it brings none"
SILENT_CACHE = "agents' sessions: the engine doesn't tell what it took from its cache"


@dataclass(frozen=True)
class Budget:
    """Lengths of prompts that are measured, the context of an agent's session (0: none), whether the engine
    has a benchmark of its own to compare with, and a sentence for each thing that is left out."""

    prompt_tokens: tuple[int, ...]
    session_tokens: int
    left_out: tuple[str, ...]
    own_bench: bool = True


@dataclass(frozen=True)
class Pace:
    """Seconds that a prompt token takes at the beginning, by how much more each token before it makes that,
    and seconds of an answer after its first token."""

    token_s: float
    slower_s: float
    answer_s: float

    def read_s(self, tokens: int) -> float:
        """Seconds that a cold prompt of so many tokens takes."""
        return tokens * (self.token_s + self.slower_s * tokens)


def fit_budget(
    plan: BenchPlan, context_size: int, way: Way, prompts: Prompts, *, own_bench: bool = True
) -> Budget:
    """The plan's prompts without those that the context or the time has no room for; the shortest always
    stays. Without what the engine doesn't tell or bring, too: `own_bench` says whether it brings a benchmark.
    Raises HarnessError when the engine doesn't answer."""
    short, long = PROBE_TOKENS
    # The quickest: what else the host does for a moment says nothing about the time that all rounds take.
    timing = min((_probe(plan, way, prompts, short) for _ in range(TRIES)), key=lambda one: one.e2e_s)
    token_s, slower_s = timing.ttft_s / short, 0.0
    if timing.ttft_s < PATIENCE_S and long + 2 * plan.answer_tokens <= context_size:
        longer_s = min(_probe(plan, way, prompts, long).ttft_s for _ in range(TRIES)) / long
        slower_s = max(0.0, (longer_s - token_s) / (long - short))
    found = choose(plan, context_size, Pace(token_s, slower_s, timing.e2e_s - timing.ttft_s))
    return without_what_lacks(found, tells_cache=timing.cached_tokens is not None, own_bench=own_bench)


def without_what_lacks(budget: Budget, *, tells_cache: bool, own_bench: bool) -> Budget:
    """The budget of an engine that may not tell what came from its cache, and may bring no benchmark."""
    left_out = budget.left_out
    if budget.session_tokens and not tells_cache:
        left_out += (SILENT_CACHE,)
    if not own_bench:
        left_out += (NO_BENCH,)
    session_tokens = budget.session_tokens if tells_cache else 0
    return Budget(budget.prompt_tokens, session_tokens, left_out, own_bench)


def _probe(plan: BenchPlan, way: Way, prompts: Prompts, tokens: int) -> Timing:
    timing = way.ask(prompts.cold(tokens), plan.answer_tokens)
    if isinstance(timing, Failure):
        raise HarnessError(f"the engine did not answer: {timing.kind}: {timing.detail}", exit_code=1)
    return timing


def choose(plan: BenchPlan, context_size: int, pace: Pace) -> Budget:
    """What fits into the plan's `budget_s` at this pace."""
    left_out = []
    sizes = [size for size in plan.prompt_tokens if size + 2 * plan.answer_tokens <= context_size]
    for size in plan.prompt_tokens:
        if size not in sizes:
            left_out.append(f"prompts of {size} tokens: the context has {context_size}")
    session_tokens = plan.sessions["context_tokens"]
    if session_tokens > context_size:
        left_out.append(f"agents' sessions of {session_tokens} tokens: the context has {context_size}")
        session_tokens = 0
    while len(sizes) > 1 and (needed := _seconds(plan, sizes, session_tokens, pace)) > plan.budget_s:
        if session_tokens:
            left_out.append(f"agents' sessions: with them about {needed:.0f} s, {plan.budget_s} s there are")
            session_tokens = 0
            continue
        left_out.append(f"prompts of {sizes.pop()} tokens: with them about {needed:.0f} s")
    return Budget(tuple(sizes), session_tokens, tuple(left_out))


def _seconds(plan: BenchPlan, sizes: list[int], session_tokens: int, pace: Pace) -> float:
    """What all rounds take: reading, and an answer to each request."""
    warm_up = [size for size in sizes if size <= plan.warm_up_tokens]
    return plan.rounds * (
        _round_s(plan, sizes, pace)
        + 2 * pace.read_s(session_tokens)
        + (2 * plan.sessions["turns"] * pace.answer_s if session_tokens else 0)
        + plan.decode_pairs_s
    ) + plan.warm_up * _round_s(plan, warm_up, pace)


def _round_s(plan: BenchPlan, sizes: list[int], pace: Pace) -> float:
    direct = [size for size in plan.engine_prompt_tokens if size in sizes]
    bench = [*plan.llama_bench["depths"], *2 * [plan.llama_bench["prefill_tokens"]]]
    clients = [plan.client_prompt_tokens] * sum(plan.clients)
    answers = 2 * (len(sizes) + len(direct)) + len(clients)
    return sum(map(pace.read_s, [*sizes, *direct, *clients, *bench])) + answers * pace.answer_s
