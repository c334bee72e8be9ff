"""The context of a running guest changes: applied soon, by the service it concerns and by no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from suites.lifecycle.conftest import NewGuest
from suites.lifecycle.guest_state import SETTINGS, GuestState, difference, read_state
from suites.lifecycle.living_guest import (
    EngineSettings,
    LivingGuest,
    address_of,
    allowed_origin,
    answer_to_password,
    change_context,
    engine_settings,
    readiness,
    run_every_script,
    switch_on,
)
from suites.lifecycle.running_stream import running_stream

ROTATED = "Rotated~while+running/1="
ORIGIN = "https://ide.example.org"
PASSWORD = {"ONEAPP_SLM_ADMIN_PASSWORD": ROTATED}
ORIGINS = {"ONEAPP_SLM_CORS_ORIGINS": ORIGIN}

ENGINE_FILES = ("files./etc/slm-copilot/engine.env", "files./etc/slm-copilot/engine-model.yaml")
"""What the configure stage writes for an engine; not every engine has both."""
AUTH_FILES = ("files./etc/slm-copilot/admin-password", "files./etc/nginx/slm-copilot/auth.conf")
REPORT_FILE = "files./etc/one-appliance/config"
SITE_FILE = "files./etc/nginx/sites-enabled/slm-copilot.conf"


@dataclass(frozen=True)
class Change:
    """The contexts before and after, the same one where every script is run again, and what it may touch."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    touches: tuple[str, ...] = ()
    run_again: bool = False


PROXY_CHANGES = {
    "the same context": Change({}, {}),
    "every script run again": Change({}, {}, run_again=True),
    "a new password": Change({}, PASSWORD, ("password", *AUTH_FILES, REPORT_FILE)),
    "every script run again with the new password": Change(PASSWORD, PASSWORD, run_again=True),
    "new origins": Change(PASSWORD, {**PASSWORD, **ORIGINS}, (SITE_FILE, SETTINGS)),
    "the password cleared": Change({**PASSWORD, **ORIGINS}, ORIGINS, ("password", *AUTH_FILES, REPORT_FILE)),
}
"""In this order, on one guest; none of them is the engine's business."""

SIZE = {**ORIGINS, "ONEAPP_SLM_CONTEXT_SIZE": "4096"}
TEMPERATURE = {**SIZE, "ONEAPP_SLM_MODEL_TEMPERATURE": "1.5"}
ENGINE_CHANGES = {
    "a new context size": Change(ORIGINS, SIZE),
    "a new temperature": Change(SIZE, TEMPERATURE),
    "new threads": Change(TEMPERATURE, {**TEMPERATURE, "ONEAPP_SLM_THREADS": "1"}),
}
"""On the same guest after the others, each on top of the one before."""


@dataclass(frozen=True)
class Changed:
    """What a change did. `broken` says why the stream that ran meanwhile ended; empty when it went on."""

    name: str
    before: GuestState
    after: GuestState
    broken: str = ""


@pytest.fixture(scope="module")
def guest(new_guest: NewGuest) -> Iterator[LivingGuest]:
    with new_guest() as opened:
        assert switch_on(opened).status == "bootstrap_success"
        yield opened


@pytest.fixture(scope="module")
def drive() -> list[Mapping[str, str]]:
    """The contexts the guest was given, the present one last."""
    return [{}]


@pytest.fixture(scope="module", params=PROXY_CHANGES)
def changed(request: pytest.FixtureRequest, guest: LivingGuest, drive: list[Mapping[str, str]]) -> Changed:
    """The guest after a change that a streamed answer lived through, or did not."""
    change = PROXY_CHANGES[request.param]
    before = state_with(guest, change.before, drive)
    patience = 30 * guest.stretch
    with running_stream(address_of(guest, before), patience_s=patience) as stream:
        if change.run_again:
            run_every_script(guest)
        else:
            insert(guest, change.after, drive)
        after = read_state(guest.machine)
        return Changed(request.param, before, after, stream.broken_within(patience))


@pytest.fixture(scope="module", params=ENGINE_CHANGES)
def engine_changed(
    request: pytest.FixtureRequest, guest: LivingGuest, drive: list[Mapping[str, str]]
) -> Changed:
    change = ENGINE_CHANGES[request.param]
    before = state_with(guest, change.before, drive)
    insert(guest, change.after, drive)
    return Changed(request.param, before, read_state(guest.machine))


def state_with(guest: LivingGuest, context: Mapping[str, str], drive: list[Mapping[str, str]]) -> GuestState:
    """The guest as the step before leaves it, also where a single check is run."""
    if drive[-1] != context:
        insert(guest, context, drive)
    return read_state(guest.machine)


def insert(guest: LivingGuest, context: Mapping[str, str], drive: list[Mapping[str, str]]) -> None:
    change_context(guest, context)
    drive.append(context)


def test_the_engine_is_not_restarted_by(changed: Changed) -> None:
    assert changed.after.engine_pid == changed.before.engine_pid


def test_the_proxy_is_not_restarted_by(changed: Changed) -> None:
    assert changed.after.proxy_pid == changed.before.proxy_pid


def test_a_running_stream_survives(changed: Changed) -> None:
    assert changed.broken == ""


def test_nothing_is_touched_but_what_belongs_to(changed: Changed) -> None:
    assert difference(changed.before, changed.after, but=PROXY_CHANGES[changed.name].touches) == ""


def test_it_serves_after(guest: LivingGuest, changed: Changed) -> None:
    assert changed.after.status == "bootstrap_success"
    assert readiness(guest, changed.before) == 200, "for a client that trusts the certificate of before"


def test_the_api_opens_to_the_reports_password_after(guest: LivingGuest, changed: Changed) -> None:
    assert answer_to_password(guest, changed.after, changed.after.password) == 200


def test_the_old_password_is_refused_at_once_after(guest: LivingGuest, changed: Changed) -> None:
    if "password" in PROXY_CHANGES[changed.name].touches:
        assert answer_to_password(guest, changed.after, changed.before.password) == 401
    else:
        kept = changed.after.password == changed.before.password
        assert kept, "the password is another one, and nobody asked for that"


def changed_nothing(_guest: LivingGuest, changed: Changed) -> bool:
    return difference(changed.before, changed.after) == ""


EFFECTS: dict[str, Callable[[LivingGuest, Changed], bool]] = {
    "a new password": lambda _, changed: changed.after.password == ROTATED,
    "new origins": lambda guest, changed: (
        allowed_origin(guest, changed.after, ORIGIN) == ORIGIN
        and allowed_origin(guest, changed.after, "https://other.example.org") == ""
    ),
    "the password cleared": lambda _, changed: (
        changed.after.password != ROTATED and len(changed.after.password) == 32
    ),
}


def test_it_is_what_the_running_system_uses(guest: LivingGuest, changed: Changed) -> None:
    effect = EFFECTS.get(changed.name, changed_nothing)
    assert effect(guest, changed), f"{changed.name} had no effect, or another one"


def test_the_engine_is_restarted_by(engine_changed: Changed) -> None:
    assert engine_changed.after.engine_pid not in (0, engine_changed.before.engine_pid)


def test_only_the_engine_is_restarted_by(engine_changed: Changed) -> None:
    before, after = engine_changed.before, engine_changed.after
    touched = ("engine_pid", "report.engine*", *ENGINE_FILES, SETTINGS, REPORT_FILE)
    assert difference(before, after, but=touched) == ""


def test_the_engine_works_with(guest: LivingGuest, engine_changed: Changed) -> None:
    context = ENGINE_CHANGES[engine_changed.name].after
    now = engine_settings(guest)
    wanted = EngineSettings(
        int(context["ONEAPP_SLM_CONTEXT_SIZE"]),
        float(context.get("ONEAPP_SLM_MODEL_TEMPERATURE", now.temperature)),
        int(context.get("ONEAPP_SLM_THREADS", now.threads)),
    )
    assert now == wanted
    assert engine_changed.after.report["engine.context_size"] == str(wanted.context_size)


def test_it_is_ready_again_after(guest: LivingGuest, engine_changed: Changed) -> None:
    assert engine_changed.after.status == "bootstrap_success"
    assert readiness(guest, engine_changed.after) == 200
