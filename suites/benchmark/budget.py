"""What of the plan fits into the time there is, told from how fast this guest reads."""

from __future__ import annotations

from dataclasses import dataclass

from harness.bench.wire import Failure
from harness.errors import HarnessError
from suites.benchmark.plan import BenchPlan
from suites.benchmark.requests import Prompts, Way

PROBE_TOKENS = 256


@dataclass(frozen=True)
class Budget:
    """Lengths of prompts that are measured, the context of an agent's session (0: none), and a sentence for
    each thing that is left out."""

    prompt_tokens: tuple[int, ...]
    session_tokens: int
    left_out: tuple[str, ...]


def fit_budget(plan: BenchPlan, context_size: int, way: Way, prompts: Prompts) -> Budget:
    """The plan's prompts without those that the context or the time has no room for; the shortest always
    stays. Raises HarnessError when the engine doesn't answer."""
    timings = []
    for _ in range(2):  # the first one finds an engine that has just been loaded
        timing = way.ask(prompts.cold(PROBE_TOKENS), plan.answer_tokens)
        if isinstance(timing, Failure):
            raise HarnessError(f"the engine did not answer: {timing.kind}: {timing.detail}", exit_code=1)
        timings.append(timing)
    timing = min(timings, key=lambda one: one.e2e_s)
    return choose(
        plan, context_size, read_s=timing.ttft_s / PROBE_TOKENS, answer_s=timing.e2e_s - timing.ttft_s
    )


def choose(plan: BenchPlan, context_size: int, *, read_s: float, answer_s: float) -> Budget:
    """`read_s`: seconds a prompt token takes; `answer_s`: seconds an answer takes after its first token."""
    left_out = []
    sizes = [size for size in plan.prompt_tokens if size + 2 * plan.answer_tokens <= context_size]
    for size in plan.prompt_tokens:
        if size not in sizes:
            left_out.append(f"prompts of {size} tokens: the context has {context_size}")
    session_tokens = min(plan.sessions["context_tokens"], context_size)
    while (
        len(sizes) > 1 and (needed := _seconds(plan, sizes, session_tokens, read_s, answer_s)) > plan.budget_s
    ):
        if session_tokens:
            left_out.append(f"agents' sessions: with them about {needed:.0f} s, {plan.budget_s} s there are")
            session_tokens = 0
            continue
        left_out.append(f"prompts of {sizes.pop()} tokens: with them about {needed:.0f} s")
    return Budget(tuple(sizes), session_tokens, tuple(left_out))


def _seconds(plan: BenchPlan, sizes: list[int], session_tokens: int, read_s: float, answer_s: float) -> float:
    """What all rounds take: reading, and an answer to each request."""
    direct = [size for size in plan.engine_prompt_tokens if size in sizes]
    tokens = sum(sizes) + sum(direct) + sum(plan.clients) * plan.client_prompt_tokens + 2 * session_tokens
    answers = 2 * (len(sizes) + len(direct)) + sum(plan.clients) + 2 * plan.sessions["turns"]
    bench = sum(plan.llama_bench["depths"]) + 2 * plan.llama_bench["prefill_tokens"]
    return (plan.rounds + plan.warm_up) * ((tokens + bench) * read_s + answers * answer_s)
