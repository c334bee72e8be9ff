"""What holds for every suite: checks that the image's engine is known to fail are expected to, strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from suites.known_differences import SUITES, Difference, differences_of, load_differences, without_a_check

IMAGE_FACTS = "image.json"
"""What the image's build says of it, in a file beside it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("slm")
    group.addoption(
        "--expect-engine",
        metavar="ENGINE[:MODEL]",
        help=f"whose known differences to expect; default: what {IMAGE_FACTS} beside the image says",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each check that this engine is known to fail.

    Raises pytest.UsageError for an entry of the file that no check has, in whatever engine's name.
    """
    ours = [item for item in items if item.path.is_relative_to(SUITES)]
    checks = [item.nodeid.removeprefix("suites/") for item in ours]
    try:
        differences = load_differences()
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    if not config.option.keyword and not any("::" in argument for argument in config.args):
        stale = without_a_check(differences, checks)
        if stale:
            raise pytest.UsageError(
                f"suites/known_differences.yaml lists what is no check: {', '.join(stale)}"
            )
    expected = expected_differences(config, differences)
    for item, check in zip(ours, checks, strict=True):
        for one in expected:
            if one.covers(check):
                item.add_marker(pytest.mark.xfail(strict=True, reason=f"{one.engine}: {one.why}"))


def expected_differences(
    config: pytest.Config, differences: tuple[Difference, ...]
) -> tuple[Difference, ...]:
    """Those of the image's engine and model; none when nobody says which those are.

    At an endpoint nobody can tell: all of them, which harness/cell/black_box.py then doesn't insist on.
    """
    told: str | None = config.getoption("--expect-engine", None)
    if told is not None:
        engine, _, model = told.partition(":")
    elif config.getoption("--machine", None) == "endpoint":
        return differences
    else:
        image: Path | None = config.getoption("--image", None)
        engine, model = _facts(image.parent / IMAGE_FACTS) if image else ("", "")
    return differences_of(engine, model, differences)


def _facts(path: Path) -> tuple[str, str]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return str(facts["engine"]), str(facts["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""
