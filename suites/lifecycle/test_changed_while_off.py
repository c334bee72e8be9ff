"""The context changes between two boots: the next boot uses every new value, and nothing else is new."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import NEW_WITH_A_BOOT, GuestState, difference
from suites.lifecycle.living_guest import (
    LivingGuest,
    allowed_origin,
    answer_to_password,
    engine_settings,
    start_with,
    switch_on,
)

ROTATED = "Rotated.by-the/context_1"
ORIGIN, OTHER_ORIGIN = "https://ide.example.org", "https://other.example.org"
NEW = {
    "ONEAPP_SLM_ADMIN_PASSWORD": ROTATED,
    "ONEAPP_SLM_CORS_ORIGINS": ORIGIN,
    "ONEAPP_SLM_MODEL_TEMPERATURE": "0.7",
    "ONEAPP_SLM_CONTEXT_SIZE": "4096",
    "ONEAPP_SLM_THREADS": "1",
}
TOUCHED = (
    "password",
    "report.engine*",
    "files./etc/slm-copilot*",
    "files./etc/nginx/slm-copilot/auth.conf",
    "files./etc/nginx/sites-enabled/slm-copilot.conf",
    "files./etc/one-appliance/config",
)
"""What these values are written into."""


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest() as opened:
        yield opened


@pytest.fixture(scope="module")
def before(guest: LivingGuest) -> GuestState:
    return switch_on(guest)


@pytest.fixture(scope="module")
def changed(guest: LivingGuest, before: GuestState) -> GuestState:
    assert before.status == "bootstrap_success"
    return start_with(guest, NEW)


@pytest.fixture(scope="module")
def cleared(guest: LivingGuest, changed: GuestState) -> GuestState:
    """The same context without the password."""
    assert changed.status == "bootstrap_success"
    return start_with(guest, {**NEW, "ONEAPP_SLM_ADMIN_PASSWORD": ""})


def test_the_new_password_opens_the_api(guest: LivingGuest, changed: GuestState) -> None:
    assert answer_to_password(guest, changed, ROTATED) == 200


def test_the_generated_password_opens_nothing_any_more(
    guest: LivingGuest, before: GuestState, changed: GuestState
) -> None:
    assert answer_to_password(guest, changed, before.password) == 401


def test_the_new_origin_may_call(guest: LivingGuest, changed: GuestState) -> None:
    assert allowed_origin(guest, changed, ORIGIN) == ORIGIN


def test_an_origin_that_is_not_listed_may_not_call(guest: LivingGuest, changed: GuestState) -> None:
    assert allowed_origin(guest, changed, OTHER_ORIGIN) == ""


def test_the_engine_has_the_new_context_size(guest: LivingGuest, changed: GuestState) -> None:
    assert (engine_settings(guest).context_size, changed.report["engine.context_size"]) == (4096, "4096")


def test_the_engine_has_the_new_temperature(guest: LivingGuest, changed: GuestState) -> None:
    assert (engine_settings(guest).temperature, changed.report["engine.temperature"]) == (0.7, "0.7")


def test_the_engine_has_the_new_threads(guest: LivingGuest, changed: GuestState) -> None:
    assert (engine_settings(guest).threads, changed.report["engine.threads"]) == (1, "1")


def test_the_report_has_the_new_password(changed: GuestState) -> None:
    told = changed.password == ROTATED
    assert told, "the report has another password than the context"


def test_nothing_else_is_new(before: GuestState, changed: GuestState) -> None:
    assert difference(before, changed, but=[*NEW_WITH_A_BOOT, *TOUCHED]) == ""


def test_a_cleared_password_is_replaced_by_a_generated_one(
    guest: LivingGuest, changed: GuestState, cleared: GuestState
) -> None:
    length, user_set = len(cleared.password), cleared.password == changed.password
    assert (length, user_set) == (32, False), "the report's password (its length, whether it is the old one)"
    assert answer_to_password(guest, cleared, cleared.password) == 200


def test_a_cleared_password_opens_nothing_any_more(guest: LivingGuest, cleared: GuestState) -> None:
    assert answer_to_password(guest, cleared, ROTATED) == 401


def test_clearing_the_password_changes_nothing_else(changed: GuestState, cleared: GuestState) -> None:
    touched = [name for name in TOUCHED if not name.startswith("report.")]
    assert difference(changed, cleared, but=[*NEW_WITH_A_BOOT, *touched]) == ""


def test_other_changed_values_stay_when_the_password_is_cleared(
    guest: LivingGuest, cleared: GuestState
) -> None:
    settings = engine_settings(guest)
    assert (settings.context_size, settings.temperature, settings.threads) == (4096, 0.7, 1)
    assert allowed_origin(guest, cleared, ORIGIN) == ORIGIN
