"""How much to measure in how much time: one model reads 7 tokens a second where another reads 700."""

from __future__ import annotations

from dataclasses import dataclass

REPETITIONS = 5
"""Of each measurement; fewer say nothing about how sure it is."""

_RUNS = REPETITIONS + 1  # the warm-up too

_DECODE_SHARE, _FEWER_THREADS_SHARE, _PREFILL_SHARE, _DEEP_SHARE = 0.15, 0.15, 0.4, 0.3
"""Parts of the time; reading prompts gets most, because one prompt takes longest."""

_MOST_GENERATED, _FEWEST_GENERATED = 64, 2
_PROMPTS = (512, 256, 128, 64, 32, 16)
_DEPTHS = (8192, 4096, 2048, 1024, 512, 256, 128)
_DEEP_GENERATED = 4


@dataclass(frozen=True)
class Speed:
    """Tokens per second, roughly: one short try."""

    decode: float
    prefill: float


@dataclass(frozen=True)
class Measurements:
    """How many tokens to generate at depth 0 (with all threads, and with half of them), how long a prompt to
    read, and at which depth to generate `deep_generate` more; a depth of 0 is none."""

    generate: int
    fewer_generate: int
    prompt: int
    depth: int
    deep_generate: int

    def seconds(self, speed: Speed) -> float:
        """How long they take at such a speed, the model's loading left out."""
        decode = _RUNS * (self.generate + 2 * self.fewer_generate + (self.deep_generate if self.depth else 0))
        return decode / speed.decode + (_RUNS * self.prompt + self.depth) / speed.prefill


def plan(speed: Speed, seconds: float, *, most_tokens: int) -> Measurements:
    """What fits into so many seconds; at least the least that says anything, however long that takes.

    Half of the threads are taken to decode at half the speed. No measurement needs a context of more than
    `most_tokens`.
    """
    depth = next(
        (
            depth
            for depth in _DEPTHS
            if depth + _DEEP_GENERATED <= most_tokens
            and depth / speed.prefill + _RUNS * _DEEP_GENERATED / speed.decode <= _DEEP_SHARE * seconds
        ),
        0,
    )
    left = _DEEP_SHARE * seconds - depth / speed.prefill
    return Measurements(
        generate=_tokens(_DECODE_SHARE * seconds * speed.decode),
        fewer_generate=_tokens(_FEWER_THREADS_SHARE * seconds * speed.decode / 2),
        prompt=next(
            (
                prompt
                for prompt in _PROMPTS
                if prompt <= most_tokens and _RUNS * prompt / speed.prefill <= _PREFILL_SHARE * seconds
            ),
            min(_PROMPTS[-1], most_tokens),
        ),
        depth=depth,
        deep_generate=min(_tokens(left * speed.decode), max(1, most_tokens - depth)),
    )


def _tokens(in_all: float) -> int:
    """Tokens a repetition may have."""
    return int(max(_FEWEST_GENERATED, min(_MOST_GENERATED, in_all / _RUNS)))
