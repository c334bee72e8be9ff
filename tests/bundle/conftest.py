"""One image and one bundle of it, made once for all tests that only read them or break a copy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import answer_for, bundle_of, make_image

from harness.gate.judge import Answer


@pytest.fixture(scope="session")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    folder = tmp_path_factory.mktemp("judged")
    return answer_for(make_image(folder), folder / "run")


@pytest.fixture(scope="session")
def bundle(answer: Answer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.setenv("SLM_CACHE", str(tmp_path_factory.mktemp("cache")))
    try:
        return bundle_of(answer, tmp_path_factory.mktemp("release"))
    finally:
        patch.undo()
