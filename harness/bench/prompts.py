"""Chat prompts of a wanted number of tokens, by a seed: cold ones share nothing, warm ones share their
beginning.

A tokenizer is not within a client's reach, so the number of tokens is learned from what the server counts:
two cheap requests say how many tokens its template adds and how many tokens a piece of text has
(`calibrate`), and every later answer can make that more exact (`Calibration.learned`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench.seeded_text import count_pieces, mixed, parts, prose, seeded
from harness.bench.timeline import Timing, measure
from harness.bench.wire import Failure, Target
from harness.errors import HarnessError

Message = Mapping[str, Any]
Count = Callable[[Sequence[Message]], int]
"""How many tokens the server counts in a conversation. Raises HarnessError."""

CALIBRATION_PIECES = (24, 256)
HEAD_WORDS = 2
QUESTION_PIECES = 12

COLD_TOKENS = 16
"""Tokens that even a cold prompt may find in the cache: what the chat template puts before the first
message."""


@dataclass(frozen=True)
class Prompt:
    """A conversation and its length in pieces of text."""

    messages: tuple[Message, ...]

    @property
    def pieces(self) -> int:
        return sum(count_pieces(message["content"]) for message in self.messages)


@dataclass(frozen=True)
class Calibration:
    """What was counted so far: (pieces, tokens) of each conversation."""

    counted: tuple[tuple[int, int], ...]

    @property
    def tokens_per_piece(self) -> float:
        """The slope of the least squares line through what was counted (1 without two different lengths)."""
        mean_pieces, mean_tokens = self._means()
        spread = sum((pieces - mean_pieces) ** 2 for pieces, _ in self.counted)
        together = sum((pieces - mean_pieces) * (tokens - mean_tokens) for pieces, tokens in self.counted)
        return together / spread if spread and together > 0 else 1.0

    @property
    def overhead(self) -> float:
        """Tokens that the template adds to a conversation: where that line begins."""
        mean_pieces, mean_tokens = self._means()
        return mean_tokens - self.tokens_per_piece * mean_pieces

    def tokens(self, pieces: int) -> float:
        """How many tokens a conversation of so many pieces is expected to have."""
        return self.overhead + self.tokens_per_piece * pieces

    def pieces(self, tokens: int) -> int:
        """How many pieces make a conversation of so many tokens; at least 1."""
        return max(1, round((tokens - self.overhead) / self.tokens_per_piece))

    def learned(self, pieces: int, tokens: int) -> Calibration:
        """With one more conversation that was counted."""
        return Calibration((*self.counted, (pieces, tokens)))

    def _means(self) -> tuple[float, float]:
        number = len(self.counted)
        return sum(one[0] for one in self.counted) / number, sum(one[1] for one in self.counted) / number


def calibrate(count: Count, *, seed: int = 0) -> Calibration:
    """Have the server count a short and a longer prompt. Raises HarnessError when it can't."""
    sizes = enumerate(CALIBRATION_PIECES)
    prompts = [_conversation(seed, f"calibration {number}", 0, pieces) for number, pieces in sizes]
    return Calibration(tuple((prompt.pieces, count(prompt.messages)) for prompt in prompts))


def count_by(target: Target, *, model: str, timeout_s: float) -> Count:
    """Counts by asking for one token; the whole prompt is read for it."""

    def count(messages: Sequence[Message]) -> int:
        outcome = measure(target, chat_body(messages, model=model, max_tokens=1), timeout_s=timeout_s)
        if isinstance(outcome, Failure):
            raise HarnessError(f"the server counted no tokens: {outcome.kind}: {outcome.detail}", exit_code=1)
        return outcome.prompt_tokens

    return count


def chat_body(
    messages: Sequence[Message], *, model: str, max_tokens: int, to_the_end: bool = True, **options: Any
) -> dict[str, Any]:
    """A request's body with greedy sampling.

    Args:
        to_the_end: have the model go on until `max_tokens` whatever it says (llama-server's ignore_eos).
    """
    return {
        "model": model,
        "messages": [dict(message) for message in messages],
        "temperature": 0,
        "max_tokens": max_tokens,
        **({"ignore_eos": True} if to_the_end else {}),
        **options,
    }


def cold_prompt(calibration: Calibration, tokens: int, *, index: int, seed: int = 0) -> Prompt:
    """A prompt of about `tokens` tokens which differs from that of any other index in its very first word,
    and where there are more prompts than words, in its second.

    A long system message and a question, as coding clients send them.
    """
    return _conversation(seed, "cold", index, calibration.pieces(tokens))


def asked_again(prompt: Prompt, *, index: int, seed: int = 0) -> Prompt:
    """The same system message, another question: all but the last tokens come from a warm cache."""
    question = _message("user", prose(seeded(seed, "again", index), QUESTION_PIECES))
    return Prompt((*prompt.messages[:-1], question))


def next_turn(prompt: Prompt, answer: str, *, index: int, seed: int = 0) -> Prompt:
    """The conversation goes on: what the model said, and another question."""
    question = _message("user", prose(seeded(seed, "turn", index), QUESTION_PIECES))
    return Prompt((*prompt.messages, _message("assistant", answer), question))


def is_cold(timing: Timing) -> bool:
    """Whether the whole prompt was read, but for the template's own beginning. An engine that does not say
    what it took from its cache is believed."""
    return (timing.cached_tokens or 0) <= COLD_TOKENS


def _conversation(seed: int, name: str, index: int, pieces: int) -> Prompt:
    """`pieces` counts everything; short ones have a shorter question, at least the two words of the head
    stay."""
    random = seeded(seed, name, index)
    question = max(2, min(QUESTION_PIECES, pieces // 3))
    text = mixed(random, pieces - question - HEAD_WORDS)
    system = f"{_head(seed, name, index)} {text}".strip()
    return Prompt((_message("system", system), _message("user", prose(random, question))))


def _head(seed: int, name: str, index: int) -> str:
    """Two words that no other index of this seed and name has together; the first of them alone differs as
    long as there are enough words."""
    words = list(parts().words)
    seeded(seed, name, "heads").shuffle(words)
    return f"{words[index % len(words)]} {words[index // len(words) % len(words)]}"


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
