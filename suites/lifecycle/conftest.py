"""Guests of this suite: each module opens its own, because every step leaves it different."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from harness.cell.own_guests import OpenGuest
from suites.lifecycle.living_guest import LivingGuest

NewGuest = Callable[..., AbstractContextManager[LivingGuest]]


@pytest.fixture(scope="session")
def new_guest(open_guest: OpenGuest, stretch: float, tmp_path_factory: pytest.TempPathFactory) -> NewGuest:
    """Opens a guest that is off: `with new_guest({"ONEAPP_SLM_THREADS": "1"}) as guest`; see open_guest."""

    @contextmanager
    def opened(context: Mapping[str, str] | None = None, **options: Any) -> Iterator[LivingGuest]:
        with open_guest(context or {}, **options) as machine:
            yield LivingGuest(machine, stretch, tmp_path_factory.mktemp("guest"))

    return opened
