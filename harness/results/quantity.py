"""Measured values as people read them."""

from __future__ import annotations

from harness.results.model import Metric

UNITLESS = frozenset({"ratio", "share"})
"""Units that say nothing beside the number."""


def quantity(metric: Metric) -> str:
    """`12.3 tok/s`; seconds below one as `14.2 ms`; `0.991` for a ratio."""
    return _with_unit(_number(metric.value * _factor(metric)), metric)


def interval(metric: Metric) -> str:
    """`11.9 to 12.6`, in the unit of `quantity`; "" where there is none."""
    if metric.ci_low is None or metric.ci_high is None:
        return ""
    factor = _factor(metric)
    return f"{_number(metric.ci_low * factor)} to {_number(metric.ci_high * factor)}"


def with_interval(metric: Metric) -> str:
    """`12.3 tok/s (11.9 to 12.6)`."""
    bounds = interval(metric)
    return f"{quantity(metric)} ({bounds})" if bounds else quantity(metric)


def target(metric: Metric) -> str:
    """`at least 0.98`, `at most 5 ms`, in the unit of `quantity`; "" without a target."""
    if metric.target is None:
        return ""
    bound = {"higher": "at least ", "lower": "at most "}.get(metric.better, "")
    return _with_unit(f"{bound}{metric.target * _factor(metric):.4g}", metric)


def _in_ms(metric: Metric) -> bool:
    return metric.unit == "s" and 0 < abs(metric.value) < 1


def _factor(metric: Metric) -> float:
    return 1000.0 if _in_ms(metric) else 1.0


def _with_unit(number: str, metric: Metric) -> str:
    unit = "ms" if _in_ms(metric) else "" if metric.unit in UNITLESS else metric.unit
    return f"{number} {unit}".strip()


def _number(value: float) -> str:
    """Four digits that matter, without an exponent for what people count."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
