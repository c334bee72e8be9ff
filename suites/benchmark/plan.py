"""plan.yaml: what is measured, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.bench.agent_session import make_session
from harness.errors import HarnessError
from harness.strict_yaml import Reader, read_yaml

FILE = Path(__file__).with_name("plan.yaml")


@dataclass(frozen=True)
class Bound:
    """What an interval must reach: one of the two is None."""

    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class BenchPlan:
    """The words are those at the head of plan.yaml."""

    rounds: int
    warm_up: int
    warm_up_tokens: int
    seed: int
    answer_tokens: int
    budget_s: float
    prompt_tokens: tuple[int, ...]
    engine_prompt_tokens: tuple[int, ...]
    clients: tuple[int, ...]
    client_prompt_tokens: int
    small_pairs: int
    decode_pairs_s: float
    decode_pairs: int
    decode_pair_tokens: int
    plain_tokens: int
    sessions: Mapping[str, int]
    llama_bench: Mapping[str, Any]
    sweep: Mapping[str, Any]
    targets: Mapping[str, Bound]


@cache
def load_plan(path: Path = FILE) -> BenchPlan:
    """The plan. Raises HarnessError naming the file, the key, its problem and what is accepted."""
    reader = Reader(path)
    names = set(BenchPlan.__dataclass_fields__)
    top = reader.mapping(read_yaml(path), "the file", required=names)
    counts = {
        "rounds": (5, 100),
        "warm_up": (0, 10),
        "warm_up_tokens": (1, 1_000_000),
        "seed": (0, 2**31),
        "answer_tokens": (8, 4096),
        "budget_s": (10, 86_400),
        "client_prompt_tokens": (32, 1_000_000),
        "small_pairs": (5, 1000),
        "decode_pairs_s": (1, 86_400),
        "decode_pairs": (1, 1000),
        "decode_pair_tokens": (8, 4096),
        "plain_tokens": (8, 4096),
    }
    fields: dict[str, Any] = {
        name: reader.integer(top, name, "the file", low=low, high=high)
        for name, (low, high) in counts.items()
    }
    for name in ("prompt_tokens", "engine_prompt_tokens", "clients"):
        fields[name] = read_numbers(reader, top[name], name)
    if strangers := set(fields["engine_prompt_tokens"]) - set(fields["prompt_tokens"]):
        reader.fail("engine_prompt_tokens", f"{sorted(strangers)} are not among prompt_tokens")
    targets = reader.mapping(top["targets"], "targets", required=set(), optional=set(top["targets"]))
    bounds = {name: read_bound(reader, bound, f"targets, {name}") for name, bound in targets.items()}
    _sessions(reader, top["sessions"])
    plain = {name: top[name] for name in ("sessions", "llama_bench", "sweep")}
    return BenchPlan(**fields, **plain, targets=bounds)


def read_numbers(reader: Reader, value: object, where: str) -> tuple[int, ...]:
    """A list of whole numbers above 0, each once, in ascending order."""
    if not isinstance(value, list) or not value or not all(type(one) is int and one > 0 for one in value):
        reader.fail(where, f"must be a list of whole numbers above 0, not {value!r}")
    return tuple(sorted(set(value)))


def _sessions(reader: Reader, value: object) -> None:
    fields = reader.mapping(value, "sessions", required={"turns", "context_tokens"})
    turns = reader.integer(fields, "turns", "sessions", low=2, high=9)
    tokens = reader.integer(fields, "context_tokens", "sessions", low=1, high=1_000_000)
    try:
        make_session(tokens, turns=turns)
    except HarnessError as error:
        reader.fail("sessions", str(error))


def read_bound(reader: Reader, value: object, where: str) -> Bound:
    """`{ at_least: x }` or `{ at_most: x }`."""
    fields = reader.mapping(value, where, required=set(), optional={"at_least", "at_most"})
    if len(fields) != 1:
        reader.fail(where, "must have one of at_least and at_most")
    return Bound(**{name: reader.number(fields, name, where, low=-1e9, high=1e9) for name in fields})
