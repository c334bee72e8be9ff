"""What a suite measures arrives in the cell's records, whole and once."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from harness.cell.fixtures import metric_recorder
from harness.cell.options import CellOptions
from harness.cell.record import CellFacts, read_cell
from harness.cell.session import CellSession
from harness.results.model import Metric


@pytest.fixture
def session(tmp_path: Path) -> CellSession:
    options = CellOptions("ci", "selfsigned", Path("x.qcow2"), "nspawn", "auto", tmp_path, "never")
    unused: Any = nullcontext
    return CellSession(options, unused, 1.0)


def facts(session: CellSession) -> CellFacts:
    read = read_cell(session.options.evidence)
    assert read is not None
    return read


def test_every_field_of_a_metric_is_kept(session: CellSession) -> None:
    metric_recorder(session)(
        "ttft",
        "s",
        2,
        n=3,
        ci_low=1.0,
        ci_high=9.0,
        target=5.0,
        verdict="INCONCLUSIVE",
        labels={"state": "cold", "prompt_tokens": 512},
        samples=[1, 2, 9],
        outliers=[2],
        reason="3 samples",
        better="lower",
        formula="first event - sent",
    )
    assert facts(session).metrics == (
        Metric(
            "ttft",
            "s",
            2.0,
            1.0,
            9.0,
            3,
            5.0,
            "INCONCLUSIVE",
            {"state": "cold", "prompt_tokens": 512},
            (1.0, 2.0, 9.0),
            (2,),
            "3 samples",
            "lower",
            "first event - sent",
        ),
    )


def test_values_with_other_labels_stand_beside_each_other(session: CellSession) -> None:
    record = metric_recorder(session)
    record("ttft", "s", 1.0, labels={"state": "cold"})
    record("ttft", "s", 2.0, labels={"state": "warm"})
    record("ttft", "s", 3.0, labels={"state": "cold"})
    record("ttft", "s", 4.0)
    assert [(one.title, one.value) for one in facts(session).metrics] == [
        ("ttft (state warm)", 2.0),
        ("ttft (state cold)", 3.0),
        ("ttft", 4.0),
    ]


def test_later_conditions_are_added_to_the_earlier_ones(session: CellSession) -> None:
    session.add_conditions({"governor": "powersave", "cores": 2})
    session.add_conditions({"governor": "performance", "steal_percent": 0.1})
    assert facts(session).conditions == {"governor": "performance", "cores": 2, "steal_percent": 0.1}
