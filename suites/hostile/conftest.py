"""One guest for all chosen contexts, with a good configuration that every refusal must leave serving."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest

from harness.cell.own_guests import OpenGuest
from suites.hostile.watched_guest import WatchedGuest, set_traps
from suites.lifecycle.living_guest import LivingGuest, switch_on

EVERY_CHARACTER = string.ascii_letters + string.digits + "._~+/=-"
"""A password of every character that is accepted."""

GOOD = {
    "ONEAPP_SLM_ADMIN_PASSWORD": EVERY_CHARACTER,
    "ONEAPP_SLM_CONTEXT_SIZE": "2048",
    "ONEAPP_SLM_CORS_ORIGINS": "https://ide.example.org",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The clients first: the contexts end with a guest that was healed."""
    items.sort(key=lambda item: item.path.name == "test_contexts.py" and item.path.parent.name == "hostile")


@pytest.fixture(scope="session")
def serving(
    open_guest: OpenGuest, stretch: float, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WatchedGuest]:
    """A guest that serves GOOD, with traps set for what a context might run or write."""
    with open_guest(GOOD) as machine:
        guest = LivingGuest(machine, stretch, tmp_path_factory.mktemp("hostile"))
        yield set_traps(guest, switch_on(guest))
