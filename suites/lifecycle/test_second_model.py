"""A second model, placed on the disk and named by the context: both answer, one of them is in memory.

Which weights it has doesn't matter to that: it is the first one's file under another name.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from harness.client.https import open_client
from suites.conformance.ask import CHAT, chat, expect_json
from suites.conformance.engine_loopback import engine_can
from suites.conformance.guest_facts import output
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import GuestState, read_state
from suites.lifecycle.living_guest import LivingGuest, address_of, change_context, readiness, switch_on

NAME = "Another-1b.q4"
CONTEXT = {"ONEAPP_SLM_SECOND_MODEL": NAME}
PLACE = f"cd /opt/slm-copilot/models && cp --reflink=auto $(ls *.gguf | head -n 1) {NAME}.gguf"
BACKENDS = "pgrep --count --full 'llama-cpp-[a-z0-9]+ --addr' || true"
"""Bash for the guest: how many backends have a model; one that waits for its turn is bash still."""
MOST = f"""
most=0
for look in {{1..200}}; do
  now=$({BACKENDS})
  [ "$now" -le "$most" ] || most=$now
  [ ! -e /run/looked-enough ] || break
  sleep 0.1
done
rm -f /run/looked-enough
echo "$most"
"""


@dataclass(frozen=True)
class Pair:
    """A guest that serves two models, and what it said of itself."""

    guest: LivingGuest
    state: GuestState

    @property
    def first(self) -> str:
        return self.state.report["connection.model"]

    def ask(self, model: str | None, *, tokens: int = 2) -> dict[str, Any]:
        with open_client(
            address_of(self.guest, self.state), read_timeout_s=300 * self.guest.stretch
        ) as client:
            body = chat("Hello", max_tokens=tokens)
            body.pop("model", None)
            answer = client.post(CHAT, json=body if model is None else {**body, "model": model})
        return expect_json(answer, 200)


@pytest.fixture(scope="module")
def pair(new_guest: NewGuest) -> Iterator[Pair]:
    with new_guest() as guest:
        state = switch_on(guest)
        if not engine_can(guest.machine, "second_model"):
            pytest.skip(f"{state.report['engine.name']} serves one model (the hostile suite asks it for two)")
        output(guest.machine, PLACE)
        change_context(guest, CONTEXT)
        yield Pair(guest, read_state(guest.machine))


def test_the_report_and_the_list_name_both(pair: Pair) -> None:
    assert pair.state.status == "bootstrap_success"
    assert pair.state.report["connection.second_model"] == NAME
    with open_client(address_of(pair.guest, pair.state), read_timeout_s=30 * pair.guest.stretch) as client:
        listed = expect_json(client.get("/v1/models"), 200)
    assert sorted(one["id"] for one in listed["data"]) == sorted([pair.first, NAME])


def test_each_answers_by_its_name_and_the_first_without_one(pair: Pair) -> None:
    asked = (pair.first, NAME, None, NAME)
    assert [pair.ask(model)["model"] for model in asked] == [pair.first, NAME, pair.first, NAME]


def test_only_one_is_in_memory_whoever_asks_for_which_at_the_same_time(pair: Pair) -> None:
    with ThreadPoolExecutor(max_workers=5) as pool:
        most = pool.submit(output, pair.guest.machine, MOST, timeout=300 * pair.guest.stretch)
        asked = [pool.submit(pair.ask, model, tokens=12) for model in (pair.first, NAME, pair.first, NAME)]
        answered = [one.result()["model"] for one in asked]
        output(pair.guest.machine, "touch /run/looked-enough")
        assert most.result().strip() == "1"
    assert answered == [pair.first, NAME, pair.first, NAME]


def test_the_appliance_is_ready_after_its_models_took_turns(pair: Pair) -> None:
    assert readiness(pair.guest, pair.state) == 200
    restarts = output(pair.guest.machine, "systemctl show --property NRestarts --value slm-engine.service")
    assert restarts.strip() == "0"


def test_taken_back_it_is_unknown_again(pair: Pair) -> None:
    change_context(pair.guest, {})
    state = read_state(pair.guest.machine)
    assert "connection.second_model" not in state.report
    with open_client(address_of(pair.guest, state), read_timeout_s=30 * pair.guest.stretch) as client:
        answer = client.post(CHAT, json={**chat("Hello", max_tokens=1), "model": NAME})
    assert answer.status_code == 404
