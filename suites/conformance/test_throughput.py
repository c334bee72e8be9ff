"""How fast this cell was: recorded, not judged, for emulation says little about users' machines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.cell.options import CellOptions
from harness.cell.record import read_cell
from harness.client.sse import Stream, median_gap_s, output_times_s, ttft_s


def test_the_engines_own_speed_is_recorded(
    speed: dict[str, float], record_metric: Callable[..., None]
) -> None:
    record_metric("prefill_speed", "tok/s", speed["prompt_per_second"], n=int(speed["prompt_n"]))
    record_metric("decode_speed", "tok/s", speed["predicted_per_second"], n=int(speed["predicted_n"]))
    assert speed["predicted_per_second"] > 0


def test_what_a_client_sees_is_recorded(stream: Stream, record_metric: Callable[..., None]) -> None:
    times = output_times_s(stream.events)
    record_metric("ttft_cached_prompt", "s", ttft_s(stream.events), n=1)
    record_metric("itl_median", "s", median_gap_s(times), n=len(times) - 1)
    assert stream.status == 200


@pytest.mark.usefixtures("machine")
def test_the_boot_times_are_recorded(cell: CellOptions, record_metric: Callable[..., None]) -> None:
    facts = read_cell(cell.evidence)
    assert facts is not None
    assert facts.timings.ready_s is not None
    record_metric("power_on_to_ready", "s", facts.timings.ready_s, n=1)
