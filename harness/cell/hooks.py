"""The hook by which another pytest plugin lends a machine of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.machine.cell import CellRequest
    from harness.machine.protocol import Machine


@pytest.hookspec(firstresult=True)
def pytest_open_machine(request: CellRequest) -> AbstractContextManager[Machine] | None:
    """Create the machine of a cell, not started; the first answer that isn't None wins."""
