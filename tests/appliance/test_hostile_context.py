"""Thousands of generated contexts for the bash validators.

The same ones in every run, so that a red build is red for everybody. To dig deeper, with new ones each time:
SLM_HOSTILE_CONTEXTS=100000 .venv/bin/python -m pytest tests/appliance/test_hostile_context.py -s
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accepted_values import accepts
from bash_guest import APPLIANCE, Guest
from bash_validators import Context, Judgement, Validators, open_validators
from hostile_values import CANARY, HOSTILE, contexts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.parameters import load_parameters

PARAMETERS = load_parameters()
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
NAMES = list(BY_NAME)
BATCH = 100
WANTED = int(os.environ.get("SLM_HOSTILE_CONTEXTS", "5200"))
SECONDS_PER_BATCH = 20.0
"""Far above the 0.3 s it takes: what is quadratic in 100 KB takes minutes."""

deterministic = settings(
    max_examples=max(1, WANTED // BATCH),
    derandomize="SLM_HOSTILE_CONTEXTS" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
batches = given(st.lists(contexts(PARAMETERS), min_size=BATCH, max_size=BATCH))


@pytest.fixture(scope="module")
def trapped_guest(guest_factory: Callable[[str], Guest]) -> Guest:
    """A guest in which a program of a hostile name lies on PATH and tells when it is run."""
    guest = guest_factory("hostile")
    guest.stub(CANARY, f"#!/bin/sh\necho ran >>{guest.path('/canary')}\n")
    return guest


@pytest.fixture(scope="module")
def validators(trapped_guest: Guest) -> Iterator[Validators]:
    with open_validators(trapped_guest, NAMES) as opened:
        yield opened


def first_refused(context: Context) -> str:
    """The parameter that has to be named, by the oracle; nothing when all are fine."""
    return next((n for n in NAMES if n in context and not accepts(BY_NAME[n], context[n])), "")


def assert_judged_rightly(context: Context, judgement: Judgement) -> None:
    """Accepted or refused as the oracle says, in one line, and nothing said that is secret."""
    name = first_refused(context)
    errors = [line for line in judgement.said if line.startswith("ERROR: ")]
    told = (context, judgement.said)
    assert judgement.accepted == (name == ""), told
    assert all(line.isprintable() and line.startswith(("ERROR: ", "WARNING: ")) for line in judgement.said), (
        told
    )
    if name:
        [line] = errors
        assert line.startswith(f"ERROR: {name}: "), told
        assert line.endswith(f"; accepted: {BY_NAME[name].accepted}"), told
        assert len(line) < 400, told
        assert judgement.said[-1] == line, told
    else:
        assert errors == [], told
        for parameter in PARAMETERS:
            given_value = context.get(parameter.name, b"")
            if parameter.kind == "base64_pem":
                given_value = b"".join(given_value.split())
            assert judgement.values[parameter.name] == (given_value or parameter.default.encode()), told
    for unknown in context.keys() - BY_NAME.keys():
        assert (
            sum(line.startswith(f"WARNING: {unknown} is not a parameter") for line in judgement.said) == 1
        ), told
    assert_no_secret_is_shown(context, judgement)


def assert_no_secret_is_shown(context: Context, judgement: Judgement) -> None:
    words = " ".join(judgement.said)
    for parameter in PARAMETERS:
        words = words.replace(parameter.name, "").replace(parameter.accepted, "")
    words = words.replace("the value is a well-known password", "")
    for parameter in PARAMETERS:
        secret = context.get(parameter.name, b"") if parameter.secret else b""
        shown = [piece.decode() for piece in re.findall(rb"[!-~]{6,}", secret) if piece.decode() in words]
        # Another parameter may hold the same piece and have it quoted.
        public = b" ".join(value for name, value in context.items() if name != parameter.name)
        assert all(piece.encode() in public for piece in shown), (context, judgement.said)


def test_every_context_is_judged_as_the_oracle_says_and_nothing_of_it_is_run(
    validators: Validators, trapped_guest: Guest
) -> None:
    seen: Counter[str] = Counter()
    slowest = 0.0

    @deterministic
    @batches
    def check(batch: list[dict[str, bytes]]) -> None:
        nonlocal slowest
        started = time.monotonic()
        judgements = validators.judge(batch)
        slowest = max(slowest, time.monotonic() - started)
        assert slowest < SECONDS_PER_BATCH, f"{BATCH} contexts took {slowest:.1f} s"
        assert not trapped_guest.path("/canary").exists(), "a value was executed"
        assert list(trapped_guest.path("/empty").iterdir()) == [], "a value became a file"
        for context, judgement in zip(batch, judgements, strict=True):
            assert_judged_rightly(context, judgement)
            seen["accepted" if judgement.accepted else "refused"] += 1
            seen[first_refused(context) or "all values fine"] += 1

    check()
    total = seen["accepted"] + seen["refused"]
    print(
        f"\n{total} contexts, {seen['accepted']} accepted, slowest batch of {BATCH} {slowest:.2f} s;"
        f" {dict(seen)}"
    )
    assert total >= min(WANTED, 5000)
    assert seen["accepted"] > total / 20, "hardly any context is good: the accepted side is not tested"
    assert all(seen[name] for name in NAMES), f"never refused: {[n for n in NAMES if not seen[n]]}"


def test_an_accepted_value_stays_in_its_own_field(guest_factory: Callable[[str], Guest]) -> None:
    """What is rendered from a context differs from the default's in the fields it sets and nowhere else."""
    guest = guest_factory("rendering")
    rendered = 0
    with open_validators(guest, NAMES, render=True) as validators:

        @settings(deterministic, max_examples=8)
        @batches
        def check(batch: list[dict[str, bytes]]) -> None:
            nonlocal rendered
            good = [context for context in batch if not first_refused(context)]
            for context, judgement in zip(good, validators.judge(good), strict=True):
                assert judgement.accepted, context
                auth, origins, engine = judgement.rendered
                assert_engine_environment(judgement, engine)
                assert_origins(judgement, origins)
                assert_auth_map(context, auth)
                rendered += 1

        check()
    print(f"\n{rendered} accepted contexts rendered")
    assert rendered >= 100


def assert_engine_environment(judgement: Judgement, engine: str) -> None:
    fields = dict(line.split("=", 1) for line in engine.splitlines())
    assert len(fields) == len(engine.splitlines()) == 12, engine
    assert all(re.fullmatch(r"[A-Z_]+=[A-Za-z0-9./_-]+", line) for line in engine.splitlines()), engine
    assert fields["LLAMA_ARG_CTX_SIZE"].encode() == judgement.values["ONEAPP_SLM_CONTEXT_SIZE"]
    assert fields["LLAMA_ARG_TEMPERATURE"].encode() == judgement.values["ONEAPP_SLM_MODEL_TEMPERATURE"]


def assert_origins(judgement: Judgement, origins: str) -> None:
    if judgement.values["ONEAPP_SLM_CORS_ORIGINS"] != b"*":
        pattern = r'    "https?://[a-z0-9.:\[\]-]+" \$http_origin;'
        assert all(re.fullmatch(pattern, line) for line in origins.splitlines()), origins
        assert len(origins.splitlines()) >= 1


def assert_auth_map(context: Context, auth: str) -> None:
    lines = auth.splitlines()
    assert len(lines) == 11, auth
    assert lines[7:] == [
        "map $slm_authorized $slm_engine_authorization {",
        '    default "";',
        '    1 "";',
        "}",
    ], auth
    password = context.get("ONEAPP_SLM_ADMIN_PASSWORD", b"").decode()
    patterns = [
        re.fullmatch(r'    "~\^\(\?i:(Basic|Bearer)\) \+([A-Za-z0-9._~/=\[\]+-]+)\$" 1;', line)
        for line in lines[3:5]
    ]
    basic, bearer = (re.sub(r"\[(.)\]", r"\1", match[2]) for match in patterns if match)
    assert base64.b64decode(basic).decode() == f"admin:{bearer}"
    assert bearer == (password or bearer)


@pytest.mark.parametrize("name", NAMES)
def test_white_space_alone_is_refused(validators: Validators, name: str) -> None:
    values = [b" ", b"\n", b"\t", b" \r\n "]
    for judgement in validators.judge([{name: value} for value in values]):
        assert not judgement.accepted
        assert judgement.said[-1].startswith(f"ERROR: {name}: ")


def test_every_printable_character_is_accepted_in_a_password_or_refused_with_the_form(
    validators: Validators,
) -> None:
    characters = [chr(code) for code in range(32, 127)]
    judgements = validators.judge(
        [{"ONEAPP_SLM_ADMIN_PASSWORD": f"Abcdefg1{c}".encode()} for c in characters]
    )
    accepted = {c for c, judgement in zip(characters, judgements, strict=True) if judgement.accepted}
    assert accepted == set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-")
    for character, judgement in zip(characters, judgements, strict=True):
        if character not in accepted:
            assert "A-Z a-z 0-9 . _ ~ + / = -" in judgement.said[-1]


def test_a_flood_of_unknown_names_is_told_in_bounds(validators: Validators) -> None:
    flood: dict[str, bytes] = {f"ONEAPP_SLM_X{n}": b"x" for n in range(500)}
    flood["ONEAPP_SLM_" + "Y" * 50_000] = b"secret-value"
    [judgement] = validators.judge([flood])
    assert judgement.accepted
    assert len(judgement.said) == 21
    assert judgement.said[-1] == "WARNING: 481 more names that begin with ONEAPP_SLM_ are ignored"
    assert max(map(len, judgement.said)) < 600


@pytest.mark.parametrize(
    ("file", "good", "bad"),
    [
        ("parameters.sh", "problem_of_origins() {", "problem_of_origins() { return 0"),
        (
            "parameters.sh",
            "problem_of_hostname() {",
            'problem_of_hostname() { eval ": $2" 2>/dev/null || true',
        ),
        ("parameters.sh", "[1-9][0-9]{0,8})$", "[0-9]{1,8})$"),
        ("failure.sh", "FLAT=${FLAT//[^ -~]/?}", ":"),
        ("parameters.sh", 'PROBLEM="the value is too short"', 'PROBLEM="$value is too short"'),
    ],
    ids=[
        "a validator that says yes",
        "eval of a value",
        "leading zeros",
        "bytes beyond ASCII shown",
        "a secret shown",
    ],
)
def test_these_properties_would_notice(
    file: str, good: str, bad: str, guest_factory: Callable[[str], Guest], tmp_path: Path
) -> None:
    """The same checks on a copy of the appliance with one defect."""
    copy = tmp_path / "appliance"
    shutil.copytree(APPLIANCE, copy)
    source = copy / "lib" / file
    text = source.read_text()
    assert text.count(good) == 1, f"{good!r} is not in {file} any more"
    source.write_text(text.replace(good, bad))
    guest = guest_factory("defect")
    guest.stub(CANARY, f"#!/bin/sh\necho ran >>{guest.path('/canary')}\n")
    hostile = (b"007", b"Sh0rt.1", b"\x1b[2Jabc", *HOSTILE)

    def check() -> None:
        with open_validators(guest, NAMES, appliance=copy) as validators:
            for value in hostile:  # one batch a value: the first that shows the defect is enough
                batch = [{name: value} for name in NAMES]
                for context, judgement in zip(batch, validators.judge(batch), strict=True):
                    assert_judged_rightly(context, judgement)
                assert not guest.path("/canary").exists()

    with pytest.raises((AssertionError, UnicodeDecodeError)):
        check()
