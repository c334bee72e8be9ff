"""A growing conversation as coding agents have it: rules, tools, a task, then tool calls and their results.

Turn after turn the client sends everything that was said so far and something new at its end, so nearly all
of a prompt has been read before: what share of it comes from the cache decides how long a turn takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from harness.bench.prompts import Message, chat_body
from harness.bench.seeded_text import code, count_pieces, parts, prose, seeded
from harness.bench.timeline import Timing
from harness.errors import HarnessError

FILL = 0.9
"""Share of the context that the last turn may use by our own estimate, its answer included. A chat template
that leaves tools and calls out (SmolLM2's does) uses much less; what the server counted is what holds."""
TOKENS_PER_PIECE = 1.25
"""Of JSON and code, rounded up; a template may print tools with more space than we send."""
LEAST_RESULT_PIECES = 24
FIXED_SHARE = 0.45
"""Of the room, which the rules may fill up to together with tools and task."""
FULL_TOOLS_FROM = 6000
"""Tokens of context from which on all tools are offered."""

_SCRIPT = Path(__file__).with_name("agent_session.yaml")


@dataclass(frozen=True)
class Step:
    """What the assistant said and did in one turn, and what came back from the tool."""

    said: str
    tool: str
    arguments: Mapping[str, str]
    result: str


@dataclass(frozen=True)
class Session:
    """A whole conversation. Turn 0 sends system and task, each later one what the step before it added."""

    system: str
    tools: tuple[Mapping[str, Any], ...]
    task: str
    steps: tuple[Step, ...]
    answer_tokens: int
    """The most that the model is asked for in a turn."""

    @property
    def turns(self) -> int:
        return len(self.steps) + 1


@dataclass(frozen=True)
class TurnCache:
    """How much of one turn's prompt was not read again."""

    prompt_tokens: int
    cached_tokens: int
    known_tokens: int
    """Tokens of the turn before, prompt and answer: the most that can come from the cache."""

    @property
    def share(self) -> float:
        """Tokens from the cache by the prompt's tokens."""
        return self.cached_tokens / self.prompt_tokens

    @property
    def kept(self) -> float | None:
        """Tokens from the cache by what the turn before has put there; None for the first turn."""
        return min(1.0, self.cached_tokens / self.known_tokens) if self.known_tokens else None


def make_session(context_tokens: int, *, seed: int = 0, turns: int = 8, answer_tokens: int = 48) -> Session:
    """A session whose last turn, with its answer, fits into `context_tokens` and uses most of them
    where the chat template shows the model its tools.

    Args:
        turns: requests, from 2 to one more than the script has steps.

    Raises:
        HarnessError: the context is too small for so many turns.
        ValueError: so many turns aren't in the script.
    """
    script = _script()
    most = len(script["steps"]) + 1
    if not 2 <= turns <= most:
        raise ValueError(f"a session has 2 to {most} turns, not {turns}")
    random = seeded("agent", seed)
    names = _names(random)
    offered = (
        script["tools"] if context_tokens >= FULL_TOOLS_FROM else script["tools"][: script["fewest_tools"]]
    )
    tools = tuple(_tool(tool) for tool in offered)
    task = random.choice(script["tasks"]).format(**names)
    steps = script["steps"][: turns - 1]
    room = int((context_tokens * FILL - turns * answer_tokens) / TOKENS_PER_PIECE)
    fixed = count_pieces(task) + _pieces(tools)
    system = _system(script, names, int(room * FIXED_SHARE) - fixed)
    calls = sum(_pieces(_call(0, step)) for step in steps)
    unit = (room - fixed - count_pieces(system) - calls) / sum(step["weight"] for step in steps)
    if unit * min(step["weight"] for step in steps) < LEAST_RESULT_PIECES:
        raise HarnessError(
            f"a context of {context_tokens} tokens has no room for an agent's session of {turns} turns",
            hint="fewer turns, or a larger context",
        )
    return Session(
        system=system,
        tools=tools,
        task=task,
        steps=tuple(_step(random, step, names, int(unit * step["weight"])) for step in steps),
        answer_tokens=answer_tokens,
    )


def request_body(
    session: Session, turn: int, *, model: str, answers: Sequence[str] = (), **options: Any
) -> dict[str, Any]:
    """What an agent sends in turn `turn`, from 0.

    Args:
        answers: what the model really said in the turns before, as a client sends it back; where there is
        none, the
            script's words stand in.
    """
    messages: list[Message] = [
        {"role": "system", "content": session.system},
        {"role": "user", "content": session.task},
    ]
    for number, step in enumerate(session.steps[:turn]):
        said = answers[number] if number < len(answers) else step.said
        call = {"said": said, "tool": step.tool, "arguments": step.arguments}
        messages += [_call(number, call), _result(number, step.result)]
    options = {"tools": list(session.tools), "tool_choice": "auto", **options}
    return chat_body(messages, model=model, max_tokens=session.answer_tokens, to_the_end=False, **options)


def cache_by_turn(timings: Sequence[Timing]) -> tuple[TurnCache, ...]:
    """What the cache gave in each turn of a session, from its first turn on.

    Raises:
        ValueError: the engine does not say how many tokens came from its cache.
    """
    found, known = [], 0
    for timing in timings:
        if timing.cached_tokens is None:
            raise ValueError("the engine does not say how many tokens came from its cache")
        found.append(TurnCache(timing.prompt_tokens, timing.cached_tokens, known))
        known = timing.prompt_tokens + timing.tokens_out
    return tuple(found)


def session_cache_share(timings: Sequence[Timing]) -> float:
    """Share of all prompt tokens of the turns after the first that came from the cache.

    Raises:
        ValueError: there is no second turn, or the engine does not say.
    """
    later = cache_by_turn(timings)[1:]
    if not later:
        raise ValueError("a session of one turn can take nothing from the cache")
    return sum(turn.cached_tokens for turn in later) / sum(turn.prompt_tokens for turn in later)


@cache
def _script() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = yaml.safe_load(_SCRIPT.read_text(encoding="utf-8"))
    return loaded


def _names(random: Random) -> dict[str, str]:
    a, b, c, d = random.sample(parts().words, 4)
    return {"a": a, "b": b, "file": f"src/{a}/{c}.py", "test": f"tests/{a}/test_{c}.py", "name": f"{d}_{c}"}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": tool["properties"], "required": tool["required"]}
    function = {"name": tool["name"], "description": tool["description"], "parameters": schema}
    return {"type": "function", "function": function}


def _system(script: Mapping[str, Any], names: Mapping[str, str], pieces: int) -> str:
    """The introduction and as many rules as go into so many pieces, but five at least."""
    system = str(script["system"].format(**names))
    for number, rule in enumerate(script["rules"], 1):
        line = f"{number}. {rule}\n"
        if number > 5 and count_pieces(system + line) > pieces:
            break
        system += line
    return system


def _step(random: Random, step: Mapping[str, Any], names: Mapping[str, str], pieces: int) -> Step:
    results = {"code": code, "listing": _listing, "log": _log}
    arguments = {name: value.format(**names) for name, value in step["arguments"].items()}
    return Step(step["said"], step["tool"], arguments, results[step["result"]](random, pieces))


def _listing(random: Random, pieces: int) -> str:
    """Paths and line numbers."""
    lines = []
    while (pieces := pieces - 9) >= 0:
        a, b, c = random.sample(parts().words, 3)
        lines.append(f"src/{a}/{b}.py:{random.randrange(10)}: {c}")
    return "\n".join(lines)


def _log(random: Random, pieces: int) -> str:
    """Lines as a program prints them."""
    lines = []
    while pieces > 0:
        length = min(12, pieces)
        lines.append(prose(random, length))
        pieces -= length
    return "\n".join(lines)


def _call(number: int, step: Mapping[str, Any]) -> Message:
    function = {"name": step["tool"], "arguments": json.dumps(step["arguments"])}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    return {"role": "assistant", "content": step["said"], "tool_calls": [call]}


def _result(number: int, text: str) -> Message:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}


def _pieces(value: Any) -> int:
    return count_pieces(json.dumps(value))
