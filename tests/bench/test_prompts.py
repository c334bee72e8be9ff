"""Prompts: as long as asked for, whatever tokenizer counts, and sharing what they should and no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from fake_engine import Timetable, running_engine

from harness.bench.prompts import (
    Calibration,
    Message,
    asked_again,
    calibrate,
    chat_body,
    cold_prompt,
    count_by,
    next_turn,
)
from harness.bench.seeded_text import code, count_pieces, mixed, parts, prose, seeded
from harness.errors import HarnessError


def tokenizer(pattern: str, overhead: int) -> Callable[[Sequence[Message]], int]:
    def count(messages: Sequence[Message]) -> int:
        return overhead + sum(len(re.findall(pattern, message["content"])) for message in messages)

    return count


TOKENIZERS = {
    "a token a word": tokenizer(r"\w+|[^\w\s]", 23),
    "marks joined, indents counted": tokenizer(r"\w+|[^\w\s]+|\n *", 8),
    "every four characters": tokenizer(r"(?s).{1,4}", 40),
    "white space counted": tokenizer(r"\w+|\s\s+|\n|[^\w\s]", 0),
}


@pytest.mark.parametrize("tokens", [128, 512, 2048, 4096])
@pytest.mark.parametrize("name", ["a token a word", "marks joined, indents counted", "white space counted"])
def test_prompts_have_the_wanted_number_of_tokens(name: str, tokens: int) -> None:
    count = TOKENIZERS[name]
    calibration = calibrate(count)
    counted = {count(cold_prompt(calibration, tokens, index=index).messages) for index in range(6)}
    assert len(counted) == 1, "they are built alike"
    assert counted.pop() == pytest.approx(tokens, rel=0.02)


def test_what_later_answers_count_makes_lengths_more_exact() -> None:
    count = TOKENIZERS["every four characters"]
    calibration = calibrate(count)
    for index in range(5):
        prompt = cold_prompt(calibration, 2048, index=index)
        calibration = calibration.learned(prompt.pieces, count(prompt.messages))
    assert count(cold_prompt(calibration, 2048, index=9).messages) == pytest.approx(2048, rel=0.02)


def test_a_calibration_is_the_line_through_what_was_counted() -> None:
    calibration = Calibration(((10, 33), (110, 153)))
    assert (calibration.tokens_per_piece, calibration.overhead) == pytest.approx((1.2, 21))
    assert calibration.tokens(200) == pytest.approx(261)
    assert calibration.pieces(261) == 200
    assert calibration.pieces(1) == 1
    assert Calibration(((10, 33),)).overhead == 23


def test_cold_prompts_differ_in_their_first_word() -> None:
    calibration = Calibration(((0, 20), (100, 120)))
    number = len(parts().words)
    heads = [
        cold_prompt(calibration, 60, index=index).messages[0]["content"].split() for index in range(number)
    ]
    assert len({head[0] for head in heads}) == number
    later = [cold_prompt(calibration, 60, index=number + index).messages[0]["content"] for index in range(50)]
    assert (
        len({tuple(text.split()[:2]) for text in later} | {tuple(head[:2]) for head in heads}) == number + 50
    )


def test_a_prompt_depends_on_its_seed_and_index_alone() -> None:
    calibration = Calibration(((0, 20), (100, 120)))
    assert cold_prompt(calibration, 300, index=1) == cold_prompt(calibration, 300, index=1)
    assert cold_prompt(calibration, 300, index=1) != cold_prompt(calibration, 300, index=2)
    assert cold_prompt(calibration, 300, index=1) != cold_prompt(calibration, 300, index=1, seed=7)


def test_warm_prompts_share_all_but_the_last_message() -> None:
    prompt = cold_prompt(Calibration(((0, 20), (100, 120))), 500, index=0)
    again = [asked_again(prompt, index=index) for index in range(3)]
    assert all(one.messages[:-1] == prompt.messages[:-1] for one in again)
    assert len({one.messages[-1]["content"] for one in [prompt, *again]}) == 4
    turn = next_turn(prompt, "so it is", index=0)
    assert turn.messages[:2] == prompt.messages
    assert [message["role"] for message in turn.messages] == ["system", "user", "assistant", "user"]
    assert turn.messages[2]["content"] == "so it is"


def test_tokens_are_counted_by_asking_for_one() -> None:
    with running_engine(Timetable(ttft_s=0, itl_s=0, events=1, prompt_tokens=77)) as engine:
        count = count_by(engine.target(), model="m", timeout_s=5)
        assert count([{"role": "user", "content": "x"}]) == 77
        assert engine.requests[0]["max_tokens"] == 1
        engine.timetable = Timetable(fault="503")
        with pytest.raises(HarnessError, match="counted no tokens: status: status 503") as caught:
            count([{"role": "user", "content": "x"}])
    assert caught.value.exit_code == 1


def test_a_body_asks_for_greedy_sampling_to_the_end() -> None:
    messages = [{"role": "user", "content": "x"}]
    body = chat_body(messages, model="m", max_tokens=9, seed=1)
    asked = {"model": "m", "messages": messages, "temperature": 0, "max_tokens": 9, "seed": 1}
    assert body == {**asked, "ignore_eos": True}
    assert "ignore_eos" not in chat_body(messages, model="m", max_tokens=9, to_the_end=False)


def test_texts_have_exactly_the_pieces_asked_for() -> None:
    for pieces in range(150):
        assert count_pieces(prose(seeded(pieces), pieces)) == pieces
        assert count_pieces(mixed(seeded(pieces), pieces)) == pieces
        assert count_pieces(code(seeded(pieces), pieces)) <= pieces


def test_a_mixed_text_has_words_and_code() -> None:
    text = mixed(seeded(1), 2000)
    assert any(line.startswith("    ") for line in text.splitlines())
    of_code = sum(line.startswith(("for ", "if ", "while ", "class ")) for line in text.splitlines())
    assert of_code > 0.1 * text.count("\n")
    assert text == mixed(seeded(1), 2000)
