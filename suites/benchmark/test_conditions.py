"""What it was measured under: limits in force, and the engine's own choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.machine.limits_read_back import ReadBack
from suites.benchmark.conftest import Measured


def test_the_profile_is_enforced_and_reads_back(enforced: ReadBack) -> None:
    """What a small host doesn't have is no fault of the appliance's: it keeps targets from being judged."""
    assert not enforced.doubts, "; ".join(enforced.doubts)


def test_the_engines_choices_are_recorded(
    report: Mapping[str, Mapping[str, str]], record_conditions: Callable[[Mapping[str, object]], None]
) -> None:
    engine = {f"engine_{name}": value for name, value in report["engine"].items()}
    record_conditions(engine)
    assert engine["engine_cpu_variant"] not in ("", "unknown"), engine


def test_what_was_left_out_is_told(
    measured: Measured, record_conditions: Callable[[Mapping[str, object]], None]
) -> None:
    record_conditions({"left_out": "; ".join(measured.budget.left_out) or "nothing"})
    assert measured.budget.prompt_tokens
