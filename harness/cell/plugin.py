"""The pytest plugin of a cell. Without --cell it only adds the options."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from harness.cell import hooks
from harness.cell.black_box import black_box_only
from harness.cell.fixtures import (
    SESSION,
    accelerator,
    appliance,
    cell,
    cell_context,
    guest,
    largest_context,
    machine,
    open_guest,
    pebble,
    port_80,
    ready_deadline,
    record_conditions,
    record_metric,
    report,
    stretch,
    tls_mode,
)
from harness.cell.left_out import leave_out_slow, unnamed
from harness.cell.options import CellOptions, add_options, cell_options
from harness.cell.progress import ProgressReporter
from harness.cell.redacting_stream import RedactingStream
from harness.cell.session import CellSession
from harness.cli.child import follow_parent
from harness.errors import HarnessError
from harness.terminal import say

if TYPE_CHECKING:
    from harness.machine.cell import CellRequest
    from harness.machine.protocol import Machine

# Fixtures are found in the plugin's own namespace.
__all__ = [
    "accelerator",
    "appliance",
    "cell",
    "cell_context",
    "guest",
    "largest_context",
    "machine",
    "open_guest",
    "pebble",
    "port_80",
    "ready_deadline",
    "record_conditions",
    "record_metric",
    "report",
    "stretch",
    "tls_mode",
]

NEEDS_MACHINE = frozenset({"machine", "appliance", "accelerator", "largest_context"})
"""Whoever has one of these needs the machine to be up."""

ONLY_ON = {"vm": "qemu", "container": "nspawn"}
"""Marks of checks that make sense on one kind of machine only."""

UNKNOWN_SPEED = 4.0
"""What time limits are stretched by at an endpoint: as under TCG, for nobody knows what it runs on."""

_PROGRESS: pytest.StashKey[ProgressReporter] = pytest.StashKey()


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make `pytest_open_machine` known."""
    pluginmanager.add_hookspecs(hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the cell's options."""
    add_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the cell's records; the machine is opened when the first check asks for it."""
    options = cell_options(config)
    if options is None:
        return
    try:
        stretch_factor = _stretch(options)
    except HarnessError as error:
        raise pytest.UsageError(str(error), *([f"hint: {error.hint}"] if error.hint else [])) from None

    def open_machine(request: CellRequest) -> AbstractContextManager[Machine]:
        opened: AbstractContextManager[Machine] = config.hook.pytest_open_machine(request=request)
        return opened

    session = CellSession(options, open_machine, stretch_factor)
    config.stash[SESSION] = session
    progress = ProgressReporter(config, session)
    config.stash[_PROGRESS] = progress
    config.pluginmanager.register(progress, "slm-progress")
    _print_redacted_and_without_dots(config)
    if threading.current_thread() is threading.main_thread():
        # SIGTERM ends a cell as Ctrl-C does, with the machine closed and the evidence saved; and SIGINT must
        # do so even where a shell that put us in the background had it ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        follow_parent()


def _stretch(options: CellOptions) -> float:
    if options.machine == "endpoint":
        return UNKNOWN_SPEED
    if options.machine != "qemu":
        return 1.0
    from harness.machine.accelerator import choose_accelerator

    return float(choose_accelerator(options.accelerator).stretch)


def _print_redacted_and_without_dots(config: pytest.Config) -> None:
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None:
        return
    writer = config.get_terminal_writer()
    # pytest has no hook between its reporter and the terminal; a guest's answer in a failure message
    # could carry the password there.
    writer._file = RedactingStream(writer._file)
    if config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES) <= 0:
        reporter.showfspath = False
        reporter._show_progress_info = False


@pytest.hookimpl(trylast=True)
def pytest_open_machine(request: CellRequest) -> AbstractContextManager[Machine]:
    """The machine the options ask for, unless another plugin has lent one."""
    from harness.machine.cell import open_machine

    return open_machine(request)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this cell's kind of machine can't show."""
    session = config.stash.get(SESSION, None)
    if session is None:
        return
    others = {mark for mark, kind in ONLY_ON.items() if kind != session.options.machine}
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in others)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if session.options.endpoint is not None:
        session.leave_out(black_box_only(config, items, session.options.endpoint))
    if session.options.machine == "nspawn":
        leave_out_slow(unnamed(items, config))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The broken latch: after a failed boot nothing else that needs the machine is tried."""
    session = item.config.stash.get(SESSION, None)
    if session is None or not session.boot_failure:
        return
    if NEEDS_MACHINE & set(getattr(item, "fixturenames", ())):
        pytest.skip(f"the machine did not get ready: {session.boot_failure.splitlines()[0]}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Save and check the evidence between the last check and pytest's own summary."""
    config = session.config
    cell_session = config.stash.get(SESSION, None)
    if cell_session is not None and not config.option.collectonly:
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        own_check = cell_session.finish(interrupted=interrupted)
        config.stash[_PROGRESS].print_check(own_check)
        if own_check.status == "failed" and exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Keep the machine up if asked to, then close it whatever happens."""
    session = config.stash.get(SESSION, None)
    if session is None:
        return
    try:
        if session.wants_keeping():
            _keep_until_interrupted(session)
    finally:
        _close(session)


def _keep_until_interrupted(session: CellSession) -> None:
    session.mark_kept()
    say("")
    say("KEEP=on-error: the machine stays up. Reach it with", "bold")
    for line in session.how_to_reach():
        say(f"  {line}")
    say("Ctrl-C ends it.", "bold")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def _close(session: CellSession) -> None:
    try:
        session.close()
    except KeyboardInterrupt:
        # An impatient second Ctrl-C in the middle of the clean-up: go on cleaning up.
        session.close()
