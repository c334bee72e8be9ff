"""Where the API password comes from and how long it lives."""

from __future__ import annotations

import re

from bash_guest import Guest

RESOLVE = 'validate_parameters; resolve_password; printf "%s" "$SLM_PASSWORD"'
GIVEN = "Given-by-context.1"


def resolve(guest: Guest, given: str = "") -> str:
    return guest.run(RESOLVE, ONEAPP_SLM_ADMIN_PASSWORD=given).stdout


def test_generated_once_and_kept(guest: Guest) -> None:
    first = resolve(guest)
    assert re.fullmatch(r"[A-Za-z0-9]{32}", first)
    assert resolve(guest) == first
    state = guest.path("/etc/slm-copilot/admin-password")
    assert oct(state.stat().st_mode & 0o777) == "0o600"


def test_two_appliances_differ(guest: Guest) -> None:
    first = resolve(guest)
    guest.path("/etc/slm-copilot/admin-password").unlink()
    assert resolve(guest) != first


def test_the_context_wins(guest: Guest) -> None:
    resolve(guest)
    assert resolve(guest, GIVEN) == GIVEN


def test_cleared_in_the_context_a_new_one_is_generated(guest: Guest) -> None:
    generated = resolve(guest)
    resolve(guest, GIVEN)
    after = resolve(guest)
    assert after not in (GIVEN, generated, "")
    assert re.fullmatch(r"[A-Za-z0-9]{32}", after)
    assert resolve(guest) == after


def test_a_damaged_state_file_is_replaced(guest: Guest) -> None:
    for damage in (
        "",
        "generated",
        "generated changeme",
        "nonsense\n",
        "generated a b c",
        "context " + "x" * 32,
    ):
        guest.write("/etc/slm-copilot/admin-password", damage)
        assert re.fullmatch(r"[A-Za-z0-9]{32}", resolve(guest))


def test_an_openssl_that_fails_stops_configure(guest: Guest) -> None:
    guest.stub("openssl", "#!/usr/bin/env bash\nexit 1\n")
    result = guest.run(RESOLVE, check=False, timeout=20)
    assert result.returncode != 0
    assert "no password could be generated" in result.stderr


def test_the_password_is_in_no_argument_list(guest: Guest) -> None:
    """Programs started by configure are recorded with their arguments and their environment."""
    log = guest.path("/arguments.log")
    for program in (
        "openssl",
        "base64",
        "cat",
        "mv",
        "cmp",
        "sed",
        "nginx",
        "awk",
        "chmod",
        "sync",
        "mktemp",
        "jq",
    ):
        guest.stub(
            program,
            "#!/bin/bash\nPATH=${PATH#*:}\n"
            f'{{ printf \'%s \' {program} "$@"; echo; env; }} >>{log}\nexec {program} "$@"\n',
        )
    guest.configure(ONEAPP_SLM_ADMIN_PASSWORD=GIVEN)
    recorded = log.read_text(encoding="utf-8", errors="replace")
    assert "openssl" in recorded
    assert "nginx -e stderr -t" in recorded
    assert GIVEN not in recorded
