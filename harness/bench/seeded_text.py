"""Text made of ordinary words and of lines of code, by a seed: the same for the same seed, else different.

Its length is counted in pieces: words, digits and marks. Engines count tokens, which are about as many; the
ratio is learned from what they count (harness/bench/prompts.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import yaml

PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]")

SENTENCE_PIECES = 12
"""All alike: a line break more or less is a token more or less."""
SENTENCES_A_STATEMENT = 2
"""Sentences between two statements of a mixed text."""

_PARTS = Path(__file__).with_name("text_parts.yaml")


@dataclass(frozen=True)
class Parts:
    """What texts are made of; see text_parts.yaml."""

    words: tuple[str, ...]
    code: tuple[str, ...]


@cache
def parts() -> Parts:
    """The parts that come with the harness."""
    loaded = yaml.safe_load(_PARTS.read_text(encoding="utf-8"))
    return Parts(words=tuple(loaded["words"]), code=tuple(loaded["code"]))


def seeded(*names: int | str) -> Random:
    """A random generator of its own for each combination of names."""
    return Random("/".join(str(name) for name in names))  # noqa: S311  texts are no secrets


def count_pieces(text: str) -> int:
    """Words, digits and marks of a text."""
    return len(PIECE.findall(text))


def prose(random: Random, pieces: int) -> str:
    """Sentences of exactly this many pieces together (0: none), without sense."""
    sentences = []
    while pieces > 0:
        words = min(SENTENCE_PIECES, pieces) - 1
        chosen = random.choices(parts().words, k=words)
        sentences.append(" ".join(chosen) + "." if words else ".")
        pieces -= words + 1
    return " ".join(sentences)


def code(random: Random, pieces: int) -> str:
    """Whole statements, as many as go into this many pieces."""
    statements: list[str] = []
    while (pieces := pieces - count_pieces(following := _statement(random, len(statements)))) >= 0:
        statements.append(following)
    return "".join(statements)


def mixed(random: Random, pieces: int) -> str:
    """Sentences with statements between them: exactly this many pieces.

    Texts of the same length are built alike and differ in their words alone, which are a token each: so
    they have the same number of tokens as well.
    """
    lines: list[str] = []
    while pieces > 0:
        statement, place = divmod(len(lines), SENTENCES_A_STATEMENT + 1)
        line = _statement(random, statement) if place == SENTENCES_A_STATEMENT else ""
        if not line or count_pieces(line) > pieces:
            line = prose(random, min(SENTENCE_PIECES, pieces)) + "\n"
        lines.append(line)
        pieces -= count_pieces(line)
    return "".join(lines)


def _statement(random: Random, number: int) -> str:
    a, b, c, d = random.sample(parts().words, 4)
    return parts().code[number % len(parts().code)].format(a=a, b=b, c=c, d=d)
