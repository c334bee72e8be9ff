"""The guest of the cell, which these checks take through refusals, other domains and a revocation."""

from __future__ import annotations

import pytest

from harness.machine.protocol import Machine
from suites.lifecycle.living_guest import LivingGuest


@pytest.fixture(scope="session")
def living(machine: Machine, stretch: float, tmp_path_factory: pytest.TempPathFactory) -> LivingGuest:
    return LivingGuest(machine, stretch, tmp_path_factory.mktemp("living"))
