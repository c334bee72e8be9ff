"""The sentence a check is known by, made from its name."""

from __future__ import annotations

import re


def topic(file: str) -> str:
    """`suites/conformance/test_auth.py` -> `auth`."""
    name = file.rsplit("/", 1)[-1].removesuffix(".py")
    return name.removeprefix("test_").replace("_", " ")


def sentence(name: str) -> str:
    """`test_a_wrong_password_is_refused[POST /v1/chat]` -> `a wrong password is refused [POST /v1/chat]`."""
    match = re.fullmatch(r"(?P<function>[^\[]*)(?P<parameters>\[.*\])?", name, re.DOTALL)
    if match is None:
        return name
    words = match["function"].removeprefix("test_").replace("_", " ").strip() or name
    parameters = match["parameters"] or ""
    return f"{words} {parameters}".strip()
