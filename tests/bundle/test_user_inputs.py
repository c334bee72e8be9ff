"""What people are asked for at instantiation: 3 parts or 5, and nothing that a form trips over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.bundle.user_inputs import user_input, user_input_problem
from harness.parameters import load_parameters

PARAMETERS = {one.label: one for one in load_parameters()}


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("domain", "O|text|Domain name of the appliance, for Let's Encrypt and the certificate's names"),
        ("threads", "O|text|CPU threads for inference; 0 = all physical cores| |0"),
        ("tls_mode", "O|list|Where the TLS certificate comes from|selfsigned,letsencrypt,custom|selfsigned"),
        (
            "tls_key",
            "O|text64|Private key for TLS mode custom (PEM text without passphrase; it is encoded for you)",
        ),
    ],
)  # fmt: skip
def test_a_parameter_is_asked_for_as(label: str, text: str) -> None:
    assert user_input(PARAMETERS[label]) == text


def test_every_parameter_is_well_formed() -> None:
    for parameter in PARAMETERS.values():
        text = user_input(parameter)
        assert user_input_problem(text) == "", parameter.name
        assert text.count("|") in (2, 4)


def test_what_is_encoded_on_its_way_is_never_asked_for_in_base64() -> None:
    """OpenNebula encodes a text64 answer itself: whoever pastes base64 would have it encoded twice."""
    for parameter in PARAMETERS.values():
        if "text64" in parameter.input:
            assert "base64" in parameter.help
            assert "base64" not in user_input(parameter)


def test_a_choice_without_default_still_has_five_parts() -> None:
    text = user_input(replace(PARAMETERS["tls_mode"], default=""))
    assert text.count("|") == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("M|text|Name", ""),
        ("O|boolean|On| |YES", ""),
        ("O|range|Size|1..10|5", ""),
        ("O|range-float|Heat|0.5..2.0|1.5", ""),
        ("O|number|Count| |3", ""),
        ("O|fixed|Version| |1.0", ""),
        ("O|text", "has 2 parts"),
        ("O|text|Name|default", "has 4 parts, 3 or 5 are accepted"),
        ("O|text|a|b|c|d", "has 6 parts"),
        ("X|text|Name", "begins with 'X'"),
        ("O|string|Name", "has type 'string'"),
        ("O|text|  ", "has no description"),
        ('O|text|Say "hi"', "holds a double quote"),
        ("O|list|Mode|a,b|c", "has default 'c', which isn't one of its words"),
        ("O|list|Mode|a,,b|a", "with an empty one"),
        ("O|list|Mode", "is a list without words"),
        ("O|boolean|On| |true", "a boolean's is YES or NO"),
        ("O|password|Secret| |hunter2", "a password with a default that everybody would share"),
        ("O|range|Size|1-10|5", "has range '1-10'"),
        ("O|range|Size|1..10|11", "out of its range"),
        ("O|range|Size|1..10|x", "which is no number"),
        ("O|number|Count| |three", "which is no number"),
        ("O|fixed|Version", "is fixed without a value"),
    ],
)
def test_a_user_input_is_judged(text: str, problem: str) -> None:
    found = user_input_problem(text)
    assert (problem in found) if problem else (found == "")
