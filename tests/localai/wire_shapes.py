"""LocalAI on the wire: requests and what it answered, kept as files in wire/.

One file is one exchange on one connection. `obtained.how` says where it is from:

* `recorded`: read from a socket of the binary and backend that `obtained` names;
* `written`: composed by hand from what `obtained.source` names, because it could not be run here.

The name of an exchange is its file's name without the suffix. Bytes are kept as they came, cut as the reads
cut them (a read that ended inside a character is kept together with the next). Times are milliseconds since
the request's last byte was sent; only their order and rough size mean something.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.client.sse import Event, SseDecoder
from harness.errors import HarnessError

FOLDER = Path(__file__).parent / "wire"
HOW = {
    "recorded": {"how", "engine", "backend", "model", "settings"},
    "written": {"how", "engine", "source"},
}
"""For each way an exchange was obtained: what must be said of it."""


@dataclass(frozen=True)
class Request:
    """What was sent. `body` is empty where the request had none."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError when it is none."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Piece:
    """Bytes of the body that arrived together, `after_ms` milliseconds after the request."""

    after_ms: int
    data: bytes


@dataclass(frozen=True)
class Exchange:
    """A request and its whole answer. `headers_after_ms` is when the answer's head had arrived."""

    name: str
    shows: str
    obtained: Mapping[str, str]
    request: Request
    status: int
    headers: tuple[tuple[str, str], ...]
    headers_after_ms: int
    pieces: tuple[Piece, ...]

    @property
    def body(self) -> bytes:
        """The body, without the framing of the transfer."""
        return b"".join(piece.data for piece in self.pieces)

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return (self.header("content-type") or "").startswith("text/event-stream")

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case; None where there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON. Raises ValueError when it is none."""
        return json.loads(self.body)

    def events(self) -> list[Event]:
        """The events of a stream, each with the time (seconds) it was complete."""
        decoder = SseDecoder()
        for piece in self.pieces:
            decoder.feed(piece.data, piece.after_ms / 1000)
        return decoder.events

    def chunks(self) -> list[Any]:
        """The events' data as JSON, without the end marker."""
        return [event.json() for event in self.events() if not event.is_done]

    def text(self) -> str:
        """What a client would show of it: the contents of a stream's first choice, joined."""
        choices = [choice for chunk in self.chunks() for choice in chunk["choices"][:1]]
        return "".join(choice.get("delta", {}).get("content") or "" for choice in choices)


def names() -> list[str]:
    """The names of all exchanges, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def exchange(name: str) -> Exchange:
    """One exchange.

    Raises:
        HarnessError: there is none of that name, or its file doesn't have the form described above.
    """
    path = FOLDER / f"{name}.json"
    try:
        return _exchange(name, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise HarnessError(f"no exchange {name}", hint=f"there are {', '.join(names())}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise HarnessError(f"{path}: is not a recorded exchange: {type(error).__name__} {error}") from error


def _exchange(name: str, kept: Mapping[str, Any]) -> Exchange:
    asked, answered, obtained = kept["request"], kept["response"], kept["obtained"]
    if set(obtained) != HOW[obtained["how"]]:
        raise ValueError(f"obtained must have exactly {', '.join(sorted(HOW[obtained['how']]))}")
    return Exchange(
        name=name,
        shows=kept["shows"],
        obtained=obtained,
        request=Request(
            method=asked["method"],
            path=asked["path"],
            headers=_pairs(asked["headers"]),
            body=asked.get("body", "").encode(),
        ),
        status=int(answered["status"]),
        headers=_pairs(answered["headers"]),
        headers_after_ms=int(answered["headers_after_ms"]),
        pieces=tuple(Piece(int(after_ms), text.encode()) for after_ms, text in answered["pieces"]),
    )


def _pairs(lines: list[str]) -> tuple[tuple[str, str], ...]:
    """Header lines as pairs, values stripped."""
    split = [line.partition(":") for line in lines]
    return tuple((name, value.strip()) for name, _, value in split)
