"""Chosen hostile and broken contexts against one serving guest."""

from __future__ import annotations

import pytest

from suites.hostile.chosen_contexts import ChosenContext, load_contexts
from suites.hostile.conftest import EVERY_CHARACTER, GOOD
from suites.hostile.watched_guest import Look, WatchedGuest, apply_context
from suites.lifecycle.living_guest import answer_to_password, readiness

CONTEXTS = {context.name: context for context in load_contexts()}


def test_there_are_at_least_40() -> None:
    assert len(CONTEXTS) >= 40


@pytest.mark.parametrize("name", CONTEXTS)
def test_it_withstands(name: str, serving: WatchedGuest) -> None:
    context = CONTEXTS[name]
    look = apply_context(serving, {**GOOD, **context.variables})
    assert look.executed == "", f"a value was executed: {look.executed}"
    assert look.changed == "", f"something outside of its own field changed:\n{look.changed}"
    if context.expected == "refused":
        assert_refused(context, look)
    elif context.expected != "unread":
        assert look.status == "bootstrap_success", look.reason
        assert_warned(context, look)
    assert readiness(serving.guest, serving.served) == 200, "the previous good configuration must serve on"
    assert answer_to_password(serving.guest, serving.served, EVERY_CHARACTER) == 200


def assert_refused(context: ChosenContext, look: Look) -> None:
    """One line, the same in report, message of the day, log and on the console."""
    reason = look.report.get("reason", "")
    assert look.status == look.report.get("state") == "configure_failure", look.log[-3:]
    assert reason.startswith(f"{context.parameter}: "), reason
    assert context.text in reason
    assert reason.isprintable()
    assert reason.isascii()
    assert look.reason == f"SLM-Copilot: configure failed: {reason}"
    assert "All set" not in look.motd
    assert look.report_sections[:2] == ("[status]", "[connection]")
    errors = [line for line in look.log if "ERROR" in line]
    assert errors, look.log
    assert f"slm-copilot: failed configure: {reason}" in look.said.replace("\r", "")
    assert "slm-copilot: ready" not in look.said.replace(reason, "")


def assert_warned(context: ChosenContext, look: Look) -> None:
    if context.expected == "warned":
        # The log holds earlier runs too.
        last = max(n for n, line in enumerate(look.log) if "configure: load flavor" in line)
        found = [line for line in look.log[last:] if "WARNING" in line and context.text in line]
        assert len(found) == 1, f"one warning with {context.text!r}: {look.log[last:]}"


def test_a_good_context_heals_it_at_the_end(serving: WatchedGuest) -> None:
    bad = apply_context(serving, {**GOOD, "ONEAPP_SLM_CONTEXT_SIZE": "many"})
    assert bad.status == "configure_failure"
    look = apply_context(serving, GOOD)
    assert (look.status, look.report.get("state"), look.reason) == (
        "bootstrap_success",
        "bootstrap_success",
        "",
    )
    assert "reason" not in look.report
    assert "All set" in look.motd
    assert look.changed == ""
    assert answer_to_password(serving.guest, serving.served, EVERY_CHARACTER) == 200
