"""Fixtures of the tests of the appliance's bash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bash_guest import Guest, build_guest


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return build_guest(tmp_path)


@pytest.fixture(scope="session")
def guest_factory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Guest]:
    return lambda name: build_guest(tmp_path_factory.mktemp(name))
