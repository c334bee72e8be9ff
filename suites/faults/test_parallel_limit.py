"""More requests than are served: 4 are worked on, 20 wait, the next is told to come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx

from harness.client.https import ApplianceAddress
from harness.deadline import Deadline, NotYet, wait_until
from suites.conformance.ask import CHAT, assert_refused, chat, expect_json
from suites.faults.running_stream import CONNECT_S, SILENCE_S, RunningStream, endless, running_streams

PLACES = 24
TOO_MANY = 3


def test_the_25th_is_told_to_come_back_and_gets_its_answer_later(
    appliance: ApplianceAddress, client: httpx.Client, stranger: httpx.Client, stretch: float
) -> None:
    with running_streams(appliance, PLACES + TOO_MANY, endless()) as streams:
        wait_until(all_decided(streams), Deadline.after(CONNECT_S * stretch), what="429 for who came last")
        refused = client.post(CHAT, json=chat(max_tokens=1))
        assert_refused(refused, 429)
        assert int(refused.headers["retry-after"]) > 0
        assert stranger.get("/readyz").status_code == 200, "a full appliance is still ready"
        assert stranger.get("/v1/models").status_code == 401
        left = [stream for stream in streams if not stream.ended.is_set()]
        assert len(left) == PLACES, f"{len(left)} of {PLACES} are served or wait"

    def check(_last_try: bool) -> dict[str, object] | None:
        response = client.post(CHAT, json=chat(max_tokens=1))
        if response.status_code == 429:
            raise NotYet(response.text[:200])
        return expect_json(response)

    wait_until(check, Deadline.after(60 * stretch), what="an answer after the crowd left", interval=0.5)


def all_decided(streams: Sequence[RunningStream]) -> Callable[[bool], bool | None]:
    """As many were turned away as there are too many."""

    def check(_last_try: bool) -> bool | None:
        refused = sum(stream.status == 429 for stream in streams)
        if refused >= TOO_MANY:
            return True
        raise NotYet(f"{refused} of {len(streams)} got 429")

    return check


def test_those_who_wait_are_served_when_their_turn_comes(appliance: ApplianceAddress, stretch: float) -> None:
    body = chat(max_tokens=2, stream=True, ignore_eos=True)
    with running_streams(appliance, 8, body) as streams:
        for stream in streams:
            assert stream.ended.wait(SILENCE_S * stretch), "a request was never served"
        assert [stream.fault() for stream in streams] == [""] * len(streams)
