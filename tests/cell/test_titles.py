"""The sentence a check is known by."""

import pytest

from harness.cell.titles import sentence, topic


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_a_wrong_password_is_refused", "a wrong password is refused"),
        ("test_no_password_is_401_for[POST /v1/chat]", "no password is 401 for [POST /v1/chat]"),
        ("test_it[a_b]", "it [a_b]"),
        ("test_it[x[0]-y]", "it [x[0]-y]"),
        ("test_it[two\nlines]", "it [two\nlines]"),
        ("test_", "test_"),
    ],
)
def test_names_become_sentences(name: str, expected: str) -> None:
    assert sentence(name) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("suites/conformance/test_slow_prefill.py", "slow prefill"),
        ("test_auth.py", "auth"),
        ("harness", "harness"),
    ],
)
def test_files_become_topics(file: str, expected: str) -> None:
    assert topic(file) == expected
