"""How long a client may take; the silence of these began before the checks of other topics."""

from __future__ import annotations

import pytest

from suites.conformance.silent_connections import COUNT, CUT_WITHIN_S, SilentConnections


@pytest.mark.slow("how long a client may stay silent takes that long to see, 15 s")
def test_clients_that_stay_silent_are_cut_off(silent_connections: SilentConnections) -> None:
    silent_connections.wait()
    cut = silent_connections.cut_after_s
    assert len(cut) == COUNT, f"{len(cut)} of {COUNT} silent connections were cut in {CUT_WITHIN_S:.0f} s"
    assert max(cut) <= CUT_WITHIN_S, f"cut after {[f'{seconds:.1f}' for seconds in cut]} s"
