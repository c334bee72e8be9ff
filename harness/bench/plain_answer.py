"""How fast the engine decodes by its own clock when nobody listens: one answer that isn't streamed.

A stream takes processor time of the engine's machine, and of the client's where that is the same host. Where
a token takes milliseconds and cores are few, this is several per cent, which the engine's own benchmark
doesn't have: against that only plain answers are compared.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from harness.bench.wire import Failure, Target, open_connection

FORMULA = "(predicted_n - 1) / predicted_ms by the engine's clock, of an answer that is not streamed"


def plain_decode_speed(target: Target, body: Mapping[str, Any], *, timeout_s: float) -> float | Failure:
    """Send `body` once and give the tok/s after the first token as the engine's `timings` tell them."""
    opened = open_connection(target, timeout_s=timeout_s)
    if isinstance(opened, Failure):
        return opened
    with opened:
        opened.opened.settimeout(timeout_s)
        connection = http.client.HTTPConnection(target.host_header)
        connection.sock = opened.opened
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if target.authorization:
            headers["Authorization"] = target.authorization
        try:
            connection.request("POST", target.path, json.dumps({**body, "stream": False}), headers)
            answer = connection.getresponse()
            text = answer.read()
        except TimeoutError:
            return Failure("timeout", f"the answer was not whole within {timeout_s:g} s")
        except (OSError, http.client.HTTPException) as error:
            return Failure("cut off", f"{type(error).__name__}: {error}")
    if answer.status != http.HTTPStatus.OK:
        return Failure("status", text.decode(errors="replace")[:300], status=answer.status)
    return _speed(text)


def _speed(text: bytes) -> float | Failure:
    try:
        timings = json.loads(text)["timings"]
        steps, spent_ms = int(timings["predicted_n"]) - 1, float(timings["predicted_ms"])
    except (KeyError, TypeError, ValueError):
        return Failure("malformed", f"an answer without the engine's timings: {text[:120]!r}")
    if steps < 1 or spent_ms <= 0:
        return Failure("malformed", f"{steps + 1} tokens in {spent_ms:g} ms have no speed")
    return steps * 1000 / spent_ms
