"""A warm prefix survives a restart: what the engine had read for a client isn't read a second time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.client.https import open_client
from harness.machine.protocol import Machine
from suites.conformance.ask import CHAT, chat, expect_json
from suites.conformance.engine_loopback import engine_can
from suites.conformance.guest_facts import output
from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import GuestState
from suites.lifecycle.living_guest import LivingGuest, address_of, switch_on, when_ready

FOLDER = "/var/lib/slm-engine"
LONG = " ".join(f"line {number} imports module {number * 7 % 101}" for number in range(60))
"""Several hundred tokens: more than what is worth a file, read in seconds."""
AGAIN = ("a restart of the engine", "a reboot")


@dataclass(frozen=True)
class Turn:
    """An answer, and how much of its prompt was read for it."""

    text: str
    prompt_tokens: int
    cached_tokens: int

    @property
    def share(self) -> float:
        return self.cached_tokens / self.prompt_tokens


@dataclass
class Talk:
    """One client's conversation with the guest."""

    guest: LivingGuest
    state: GuestState

    def ask(self, question: str) -> Turn:
        with open_client(
            address_of(self.guest, self.state), read_timeout_s=300 * self.guest.stretch
        ) as client:
            body = chat(f"{LONG}\n{question}", max_tokens=6, temperature=0, seed=1)
            answer: dict[str, Any] = expect_json(client.post(CHAT, json=body), 200)
        usage = answer["usage"]
        return Turn(
            answer["choices"][0]["message"]["content"],
            usage["prompt_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
        )

    def restarted(self) -> None:
        output(self.guest.machine, "systemctl restart slm-engine.service", timeout=120 * self.guest.stretch)


def kept(machine: Machine) -> list[str]:
    """Mode, owner and name of every file, the folder's own first."""
    return output(
        machine,
        f"cd {FOLDER} && find . -printf '%m %U %f\\n' | sort -k3 | sed \"s/ $(id -u slm-engine) / engine /\"",
    ).splitlines()


@pytest.fixture(scope="module")
def talk(new_guest: NewGuest) -> Iterator[Talk]:
    with new_guest() as guest:
        state = switch_on(guest)
        if not engine_can(guest.machine, "keep_prompts"):
            pytest.skip(f"{state.report['engine.name']} can't write to disk what it has read for its clients")
        yield Talk(guest, state)


@pytest.fixture(scope="module")
def cold(talk: Talk) -> Turn:
    return talk.ask("What is line 1?")


@pytest.mark.parametrize("again", AGAIN)
def test_a_warm_prefix_survives(again: str, talk: Talk, cold: Turn) -> None:
    assert cold.share < 0.2, "the first answer was no cold one"
    before = talk.ask(f"Before {again}?")
    if again == "a reboot":
        talk.guest.machine.reboot()
        talk.state = when_ready(talk.guest)
    else:
        talk.restarted()
    after = talk.ask(f"After {again}?")
    assert before.share > 0.9
    assert after.share > 0.9, f"{after.prompt_tokens - after.cached_tokens} tokens were read again"


def test_the_answer_after_a_restart_is_the_one_before(talk: Talk, cold: Turn) -> None:
    assert talk.ask("What is line 7?").prompt_tokens == cold.prompt_tokens
    before = talk.ask("What is line 8?")
    talk.restarted()
    assert talk.ask("What is line 8?").text == before.text


@pytest.mark.usefixtures("cold")
def test_nobody_but_the_engine_can_read_what_was_kept(talk: Talk) -> None:
    talk.restarted()
    folder, *files = kept(talk.guest.machine)
    assert folder == "700 engine ."
    assert files, "nothing was kept"
    assert [name for name in files if not name.startswith("600 engine prompt.")] == []


def test_a_damaged_file_is_thrown_away_and_the_answer_is_right(talk: Talk, cold: Turn) -> None:
    damage = (
        f"for file in {FOLDER}/prompt.*; do "
        "printf x | dd of=$file bs=1 seek=70000 conv=notrunc status=none; done"
    )
    output(
        talk.guest.machine,
        f"systemctl stop slm-engine.service && {damage} && systemctl start slm-engine.service",
        timeout=120 * talk.guest.stretch,
    )
    turn = talk.ask("What is line 1?")
    assert turn.text == cold.text
    assert turn.share < 0.2, "a damaged prefix was used"
