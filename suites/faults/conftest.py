"""Order and clients of the faults suite; machines come from the root conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness.client.https import ApplianceAddress, open_client
from harness.machine.protocol import Machine
from suites.faults.healing import wait_for_ready

ORDER = ("flood", "slowloris", "parallel_limit", "reload", "log_bound", "engine_killed", "engine_hung")
"""Load first, then what breaks the services; the rest of the topics after them."""

ReadyAgain = Callable[[], float]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        if not item.path.is_relative_to(here):
            return -1
        topic = item.path.stem.removeprefix("test_")
        return ORDER.index(topic) if topic in ORDER else len(ORDER)

    items.sort(key=place)


@pytest.fixture(scope="session")
def client(appliance: ApplianceAddress) -> Iterator[httpx.Client]:
    """A client with the administrator's right."""
    with open_client(appliance, read_timeout_s=120) as opened:
        yield opened


@pytest.fixture(scope="session")
def stranger(appliance: ApplianceAddress) -> Iterator[httpx.Client]:
    """A client without credentials."""
    with open_client(appliance, auth="none", read_timeout_s=60) as opened:
        yield opened


@pytest.fixture(scope="session")
def ready_again(appliance: ApplianceAddress, stretch: float) -> ReadyAgain:
    """Waits until /readyz says 200 again; returns the seconds it took."""
    return lambda: wait_for_ready(appliance, 60 * stretch)


@pytest.fixture(autouse=True)
def _heals(machine: Machine, ready_again: ReadyAgain) -> Iterator[None]:
    """Whatever a check broke, the next one finds the appliance serving."""
    yield
    machine.run("systemctl start slm-engine.service nginx.service slm-watchdog.service", timeout=120)
    ready_again()
