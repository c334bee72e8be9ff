"""The points that are requests: chats cold and warm, several clients, tiny ones, agents' sessions."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from harness.bench.agent_session import (
    Session,
    cache_by_turn,
    make_session,
    request_body,
    session_cache_share,
)
from harness.bench.load import at_once
from harness.bench.plain_answer import plain_decode_speed
from harness.bench.prompts import Calibration, Prompt, asked_again, chat_body, cold_prompt, is_cold
from harness.bench.timeline import Timing, measure
from harness.bench.wire import Failure, Target
from harness.results.model import Label
from suites.benchmark.campaign import Point, Value

TIMEOUT_S = 1800.0
"""For one request: a large model reads a long prompt for many minutes."""


@dataclass(frozen=True)
class Way:
    """A way to the engine: through the appliance, or straight to its port.

    Each request has a connection of its own, open before its time begins: the engine closes those that idled
    or were used a hundred times without a word, and who finds out by a lost request has lost a measurement.
    """

    path: str
    target: Target
    model: str

    def ask(self, prompt: Prompt, max_tokens: int) -> Timing | Failure:
        return self.send(chat_body(prompt.messages, model=self.model, max_tokens=max_tokens))

    def send(self, body: dict[str, object]) -> Timing | Failure:
        return measure(self.target, body, timeout_s=TIMEOUT_S)

    def plain_speed(self, prompt: Prompt, max_tokens: int) -> float | Failure:
        """Tokens a second by the engine's clock of an answer that isn't streamed."""
        body = chat_body(prompt.messages, model=self.model, max_tokens=max_tokens)
        return plain_decode_speed(self.target, body, timeout_s=TIMEOUT_S)


@dataclass
class Prompts:
    """Cold prompts, none of them twice."""

    calibration: Calibration
    seed: int
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def cold(self, tokens: int) -> Prompt:
        return cold_prompt(self.calibration, tokens, index=next(self._numbers), seed=self.seed)

    def again(self, prompt: Prompt) -> Prompt:
        return asked_again(prompt, index=next(self._numbers), seed=self.seed)


def chat_point(
    way: Way, prompts: Prompts, tokens: int, answer_tokens: int, *, warms_up: bool = True
) -> Point:
    """A cold prompt, and the same with another question right after."""

    def run(number: int) -> Iterable[Value | Failure]:
        if number < 0 and not warms_up:
            return
        prompt = prompts.cold(tokens)
        for state, asked in (("cold", prompt), ("warm", prompts.again(prompt))):
            timing = way.ask(asked, answer_tokens)
            if isinstance(timing, Failure):
                yield timing
            elif state == "cold" and not is_cold(timing):
                yield Failure(
                    "malformed", f"{timing.cached_tokens} tokens of a new prompt came from the cache"
                )
            else:
                yield from values_of(timing, path=way.path, prompt_tokens=tokens, state=state, clients=1)

    return Point(f"{tokens} tokens, {way.path}", run)


def clients_point(way: Way, prompts: Prompts, clients: int, tokens: int, answer_tokens: int) -> Point:
    """So many clients at once, each with a cold prompt of its own."""

    def run(_round: int) -> Iterable[Value | Failure]:
        asked = [prompts.cold(tokens) for _ in range(clients)]
        bodies = [[chat_body(one.messages, model=way.model, max_tokens=answer_tokens)] for one in asked]
        load = at_once(way.target, bodies, timeout_s=TIMEOUT_S)
        yield from load.failures
        timings = load.timings
        if len(timings) == clients and load.tokens_per_s is not None:
            labels: dict[str, Label] = {"path": way.path, "prompt_tokens": tokens, "clients": clients}
            yield Value("load_speed", "tok/s", labels, (load.tokens_per_s,))
            yield Value("ttft", "s", {**labels, "state": "cold"}, tuple(one.ttft_s for one in timings))
            gaps = tuple(gap for one in timings for gap in one.itl_s)
            yield Value("itl", "s", {**labels, "state": "cold"}, gaps)

    return Point(f"{clients} clients", run)


def session_point(way: Way, turns: int, context_tokens: int, seed: int) -> Point:
    """Two agents whose turns alternate: each finds its own conversation in the cache, or not."""

    def run(number: int) -> Iterable[Value | Failure]:
        if number < 0:
            return  # its prompts are long, and warm nothing that the others don't
        sessions = [make_session(context_tokens, seed=seed + 2 * number + who, turns=turns) for who in (0, 1)]
        taken: list[list[Timing]] = [[], []]
        for turn in range(turns):
            for who, session in enumerate(sessions):
                timing = way.send(_turn(session, turn, way.model, taken[who]))
                if isinstance(timing, Failure):
                    yield timing
                    return
                taken[who].append(timing)
        labels: dict[str, Label] = {"path": way.path, "clients": 2}
        yield Value("cache_share", "share", labels, (min(session_cache_share(timings) for timings in taken),))
        kept = [one.kept for timings in taken for one in cache_by_turn(timings) if one.kept is not None]
        yield Value("cache_kept", "share", labels, (min(kept),))
        for turn in range(turns):
            turn_labels = {**labels, "turn": turn + 1}
            yield Value("agent_ttft", "s", turn_labels, tuple(timings[turn].ttft_s for timings in taken))

    return Point("two agents", run)


def _turn(session: Session, turn: int, model: str, before: list[Timing]) -> dict[str, object]:
    return dict(request_body(session, turn, model=model, answers=[timing.text for timing in before]))


@dataclass(frozen=True)
class InTurn:
    """For `seconds`, cycles of `pairs` short answers of `tokens` through each way, and of a plain answer of
    `plain_tokens` at the engine's port and one by llama-bench."""

    seconds: float
    pairs: int
    tokens: int
    plain_tokens: int


def decode_pairs_point(
    ways: tuple[Way, Way],
    bench: Callable[[], float | Failure] | None,
    prompt: Prompt,
    plan: InTurn,
) -> Point:
    """Answers to a prompt that the cache knows, for the ratios: where a token takes milliseconds, single
    answers differ by more than what is to be told, so there are many, as near to each other as can be.
    Without a `bench` there is nothing to compare plain answers with, so there are none."""

    def run(number: int) -> Iterable[Value | Failure]:
        direct = ways[1]
        clients: dict[str, list[float]] = {way.path: [] for way in ways}
        plain: dict[str, list[float]] = {direct.path: [], "llama-bench": []} if bench else {}
        for cycle in _cycles(plan.seconds if number >= 0 else 0):
            for pair in range(plan.pairs):
                for way in ways if pair % 2 else reversed(ways):
                    timing = way.ask(prompt, plan.tokens)
                    if isinstance(timing, Failure):
                        yield timing
                        return
                    if timing.decode_tok_s is None:
                        yield Failure("malformed", f"an answer of {timing.tokens_out} tokens has no speed")
                        return
                    clients[way.path].append(timing.decode_tok_s)
            for path in plain if cycle % 2 else reversed(plain):
                if bench is not None and path not in clients:
                    speed = bench()
                else:
                    speed = direct.plain_speed(prompt, plan.plain_tokens)
                if isinstance(speed, Failure):
                    yield speed
                    return
                plain[path].append(speed)
        for path, values in clients.items():
            yield Value("paired_decode_speed", "tok/s", {"path": path, "clock": "client"}, tuple(values))
        for path, values in plain.items():
            yield Value("plain_decode_speed", "tok/s", {"path": path, "clock": "server"}, tuple(values))

    return Point("answers in turn", run)


def _cycles(seconds: float) -> Iterator[int]:
    """0, 1 and on until that time is over; at least 0."""
    end = time.monotonic() + seconds
    for number in itertools.count():
        yield number
        if time.monotonic() >= end:
            return


def small_point(ways: tuple[Way, Way], prompt: Prompt, pairs: int) -> Point:
    """A prompt of a few tokens that the cache knows, asked through both ways in turn, `pairs` times."""

    def run(number: int) -> Iterable[Value | Failure]:
        count = pairs if number >= 0 else 2
        took: dict[str, list[float]] = {way.path: [] for way in ways}
        for pair in range(count):
            for way in ways if pair % 2 else reversed(ways):
                timing = way.ask(prompt, 1)
                if isinstance(timing, Failure):
                    yield timing
                    return
                took[way.path].append(timing.ttft_s)
        for way in ways:
            yield Value("small_ttft", "s", {"path": way.path}, tuple(took[way.path]))

    return Point("tiny requests", run)


def values_of(timing: Timing, **labels: Label) -> Iterable[Value]:
    """What one answered request says."""
    yield Value("ttft", "s", labels, (timing.ttft_s,))
    yield Value("e2e", "s", labels, (timing.e2e_s,))
    yield Value("itl", "s", labels, timing.itl_s)
    if timing.tpot_s is not None:
        yield Value("tpot", "s", labels, (timing.tpot_s,))
    if timing.decode_tok_s is not None:
        yield Value("decode_speed", "tok/s", {**labels, "clock": "client"}, (timing.decode_tok_s,))
    if timing.server_decode_tok_s is not None:
        yield Value("decode_speed", "tok/s", {**labels, "clock": "server"}, (timing.server_decode_tok_s,))
    if labels.get("state") == "cold":
        yield Value("prefill_speed", "tok/s", {**labels, "clock": "client"}, (timing.prefill_tok_s,))
        if timing.server_prefill_tok_s is not None:
            yield Value(
                "prefill_speed", "tok/s", {**labels, "clock": "server"}, (timing.server_prefill_tok_s,)
            )
    if timing.cache_share is not None:
        yield Value("cache_share", "share", labels, (timing.cache_share,))
