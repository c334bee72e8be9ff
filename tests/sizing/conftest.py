"""Fixtures of the tests of sizing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.sizing.shapes import ModelShape, find_model


@pytest.fixture
def tiny() -> ModelShape:
    """A model of a few MiB with everything the large ones have: mixed types, an output matrix, biases."""
    return replace(
        find_model("qwen2.5-coder-7b-q4km"),
        key="tiny",
        layers=3,
        hidden=256,
        feed_forward=512,
        heads=4,
        kv_heads=2,
        head_size=64,
        vocabulary=511,  # so that a tensor ends where the next must not begin
        context=2048,
        published=0,
    )


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds, 20 s at most."""

    def wait(condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.02)

    return wait
