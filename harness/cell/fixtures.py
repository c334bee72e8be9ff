"""What a suite's check can ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from harness.cell.address import appliance_at, read_report
from harness.cell.options import CellOptions
from harness.cell.own_guests import OpenGuest, ReadyDeadline, guest_opener
from harness.cell.own_guests import ready_deadline as make_ready_deadline
from harness.cell.session import CellSession
from harness.errors import ApplianceError, HarnessError
from harness.parameters import load_parameters
from harness.results.model import Better, Label, Metric, Verdict

if TYPE_CHECKING:
    from harness.client.https import ApplianceAddress
    from harness.machine.protocol import Machine
    from harness.peers.pebble import Pebble

SESSION: pytest.StashKey[CellSession] = pytest.StashKey()

RecordMetric = Callable[..., None]
RecordConditions = Callable[[Mapping[str, Label]], None]


def session_of(config: pytest.Config) -> CellSession:
    """The running cell. Raises pytest.UsageError when pytest was started without one."""
    session = config.stash.get(SESSION, None)
    if session is None:
        raise pytest.UsageError(
            "this check needs a machine: `make test-image`, or pytest with --cell ci:selfsigned --image PATH"
        )
    return session


@pytest.fixture(scope="session")
def cell(request: pytest.FixtureRequest) -> CellOptions:
    """The cell asked for: profile, tls_mode, image, machine, accelerator, evidence."""
    return session_of(request.config).options


@pytest.fixture(scope="session")
def stretch(request: pytest.FixtureRequest) -> float:
    """The factor by which every time limit grows on this accelerator: 1.0, or 4.0 under TCG."""
    return session_of(request.config).stretch


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Machine:
    """The cell's machine: booted, and ready to answer completions."""
    session = session_of(request.config)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    # People want to see the boot's steps as they happen.
    uncaptured = capture.global_and_fixture_disabled() if capture is not None else nullcontext()
    try:
        with uncaptured:
            return session.machine()
    except HarnessError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        told = f"the machine did not get ready: {error}{hint}"
    # Outside the except block, so that pytest doesn't tell the same twice as a chain of exceptions.
    pytest.fail(told, pytrace=False)


@pytest.fixture(scope="session")
def open_guest(request: pytest.FixtureRequest) -> OpenGuest:
    """Opens guests of a check's own: `with open_guest({"ONEAPP_SLM_DOMAIN": "a.test"}) as machine:`, switched
    off, beside the cell's machine and whether that one boots or not."""
    return guest_opener(session_of(request.config))


@pytest.fixture(scope="session")
def ready_deadline(request: pytest.FixtureRequest) -> ReadyDeadline:
    """Makes deadlines for a guest to get ready: `machine.wait_ready(ready_deadline())`."""
    return make_ready_deadline(session_of(request.config))


@pytest.fixture(scope="session")
def guest(machine: Machine) -> Any:
    """The guest as a testinfra host, over SSH as root."""
    import testinfra

    return testinfra.get_host("ssh://guest", ssh_config=str(machine.ssh_config()))


@pytest.fixture(scope="session")
def report(machine: Machine) -> Mapping[str, Mapping[str, str]]:
    """The guest's report file by section and key. The password in it is masked everywhere from now on."""
    with guest_at_fault():
        return read_report(machine)


@pytest.fixture(scope="session")
def appliance(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ApplianceAddress:
    """How to reach the appliance from the host: verified with the root that its TLS mode has, else with the
    guest's own certificate, and by the name the certificate is for.

    The guest is asked for it where there is one. It isn't among this fixture's own: a check that needs
    nothing but the appliance can also be made at an endpoint (harness/cell/black_box.py).
    """
    machine = request.getfixturevalue("machine")
    session = session_of(request.config)
    if session.options.endpoint is not None:
        return session.options.endpoint.address
    report = request.getfixturevalue("report")
    with guest_at_fault():
        return appliance_at(machine, report, session.tls, tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def accelerator(request: pytest.FixtureRequest) -> str:
    """What the machine runs on: kvm, tcg or native; unknown at an endpoint."""
    return str(request.getfixturevalue("machine").accelerator)


@pytest.fixture(scope="session")
def tls_mode(request: pytest.FixtureRequest) -> str:
    """The cell's TLS mode; at an endpoint `selfsigned` or `issued`, as its certificate says."""
    return session_of(request.config).options.tls_mode


@pytest.fixture(scope="session")
def port_80(appliance: ApplianceAddress) -> str:
    """`http://host:port` of the appliance's port 80. At an endpoint whose port 80 nobody knows no check that
    wants it is made."""
    return appliance.http_url


@pytest.fixture(scope="session")
def largest_context(request: pytest.FixtureRequest) -> int:
    """Tokens that the context has at most: what the guest says, at an endpoint what a guest may have."""
    if session_of(request.config).options.endpoint is not None:
        return next(one.maximum or 0 for one in load_parameters() if one.label == "context_size")
    return int(request.getfixturevalue("report")["engine"]["context_size"])


@pytest.fixture(scope="session")
def cell_context(request: pytest.FixtureRequest, machine: Machine) -> Mapping[str, str]:  # noqa: ARG001
    """The context variables the cell's machine was booted with, beside those every VM has."""
    return session_of(request.config).context


@pytest.fixture(scope="session")
def pebble(request: pytest.FixtureRequest, machine: Machine) -> Pebble:  # noqa: ARG001
    """The ACME server that the cell's machine asks; only a cell in TLS mode letsencrypt has one."""
    running = session_of(request.config).tls.pebble
    if running is None:
        pytest.fail("this check needs a cell in TLS mode letsencrypt: TLS_MODES=letsencrypt", pytrace=False)
    return running


@contextmanager
def guest_at_fault() -> Iterator[None]:
    """What the guest lacks is a failed check, without a traceback; other faults go on as they are."""
    try:
        yield
    except ApplianceError as error:
        told = error.message
    else:
        return
    # Outside the except block, so that pytest doesn't tell the same twice as a chain of exceptions.
    pytest.fail(told, pytrace=False)


@pytest.fixture(scope="session")
def record_metric(request: pytest.FixtureRequest) -> RecordMetric:
    """Record a measured value: `record_metric("ttft", "s", 1.2)`, optionally with the other fields of
    harness.results.model.Metric. A later value of the same name and labels replaces the earlier one."""
    return metric_recorder(session_of(request.config))


def metric_recorder(session: CellSession) -> RecordMetric:
    """What the fixture record_metric is: it keeps values in the session's records."""

    def record(
        name: str,
        unit: str,
        value: float,
        *,
        n: int | None = None,
        ci_low: float | None = None,
        ci_high: float | None = None,
        target: float | None = None,
        verdict: Verdict | None = None,
        labels: Mapping[str, Label] | None = None,
        samples: Iterable[float] = (),
        outliers: Iterable[int] = (),
        reason: str = "",
        better: Better = "",
        formula: str = "",
    ) -> None:
        session.add_metric(
            Metric(
                name,
                unit,
                float(value),
                ci_low,
                ci_high,
                n,
                target,
                verdict,
                labels=dict(labels or {}),
                samples=tuple(float(one) for one in samples),
                outliers=tuple(outliers),
                reason=reason,
                better=better,
                formula=formula,
            )
        )

    return record


@pytest.fixture(scope="session")
def record_conditions(request: pytest.FixtureRequest) -> RecordConditions:
    """Record what is measured under: `record_conditions({"steal_percent": 0.1, "governor": "performance"})`.
    A later value of the same name replaces the earlier one."""
    return session_of(request.config).add_conditions
