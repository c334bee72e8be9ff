"""plan.yaml, and what of it fits into the time there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.strict_yaml import Reader, read_yaml
from suites.benchmark.plan import Bound, read_bound, read_numbers

FILE = Path(__file__).with_name("plan.yaml")


@dataclass(frozen=True)
class ShortPlan:
    """The words are those at the head of plan.yaml."""

    rounds: int
    warm_up: int
    answer_tokens: int
    budget_s: float
    prompt_tokens: tuple[int, ...]
    cached_from: int
    network_share: float
    targets: Mapping[str, Bound]
    only_inside: tuple[str, ...]


@cache
def load_short_plan(path: Path = FILE) -> ShortPlan:
    """The plan. Raises HarnessError naming the file, the key, its problem and what is accepted."""
    reader = Reader(path)
    top = reader.mapping(read_yaml(path), "the file", required=set(ShortPlan.__dataclass_fields__))
    counts = {
        "rounds": (5, 100),
        "warm_up": (0, 10),
        "answer_tokens": (8, 4096),
        "budget_s": (10, 86_400),
        "cached_from": (1, 1_000_000),
    }
    fields: dict[str, Any] = {
        name: reader.integer(top, name, "the file", low=low, high=high)
        for name, (low, high) in counts.items()
    }
    fields["network_share"] = reader.number(top, "network_share", "the file", low=0, high=1)
    fields["prompt_tokens"] = read_numbers(reader, top["prompt_tokens"], "prompt_tokens")
    targets = reader.mapping(top["targets"], "targets", required={"warm_ttft_ratio"})
    fields["targets"] = {name: read_bound(reader, one, f"targets, {name}") for name, one in targets.items()}
    fields["only_inside"] = _sentences(reader, top["only_inside"])
    return ShortPlan(**fields)


def _sentences(reader: Reader, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        reader.fail("only_inside", "must be a list of texts")
    return tuple(value)


@dataclass(frozen=True)
class Fitting:
    """Lengths of prompts that are measured, and a sentence for each that is not."""

    prompt_tokens: tuple[int, ...]
    left_out: tuple[str, ...]


def fit(plan: ShortPlan, *, read_s: float, token_s: float) -> Fitting:
    """What fits when a prompt token takes `read_s` seconds and one of an answer `token_s`."""
    sizes, left_out = list(plan.prompt_tokens), []
    while len(sizes) > 1 and (needed := _seconds(plan, sizes, read_s, token_s)) > plan.budget_s:
        left_out.append(f"prompts of {sizes.pop()} tokens: with them about {needed:.0f} s")
    return Fitting(tuple(sizes), tuple(left_out))


def _seconds(plan: ShortPlan, sizes: list[int], read_s: float, token_s: float) -> float:
    answers = 2 * len(sizes) * plan.answer_tokens
    return (plan.rounds + plan.warm_up) * (sum(sizes) * read_s + answers * token_s)
