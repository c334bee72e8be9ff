"""One guest while things happen to it: switched on and off, its context changed, asked over HTTPS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

import httpx

from harness.cell.session import READY_WITHIN_S
from harness.client.https import ApplianceAddress, open_client
from harness.deadline import Deadline
from harness.machine.cell import context_of
from harness.machine.protocol import BootTimings, Machine
from suites.conformance import engine_loopback
from suites.conformance.guest_facts import output
from suites.lifecycle.guest_state import GuestState, read_state

APPLIED_WITHIN_S = 45.0
"""A changed context of a running guest is applied within this time, stretched for slow accelerators; a new
context size, which loads the model again, included."""

LOOKS = 4
"""How many looks in a row, a tenth of a second and more apart, must find the guest at rest: a swapped disk is
noticed a moment later, and one that holds the same context changes nothing that could be waited for."""

SETTLE = """
wanted=$(cat) applied=/run/one-context/context.sh.network end=$((SECONDS + {seconds})) calm=0
while [ $calm -lt {looks} ] && [ $SECONDS -lt $end ]; do
  sleep 0.1
  calm=$((calm + 1))
  if [ -e /run/one-context/one-context.lock ]; then calm=0 seen='one-contextd at work'; fi
  if [ "$wanted" != "$(cat $applied)" ]; then calm=0 seen='the old context'; fi
  status=$(cat /etc/one-appliance/status)
  case $status in *_started | configure_success) calm=0 seen="status $status" ;; esac
done
[ $calm -ge {looks} ] || {{ echo "$seen" >&2; exit 1; }}
"""
"""Bash for the guest: waits until the context on its stdin is the applied one and no stage runs any more."""


@dataclass(frozen=True)
class LivingGuest:
    """A machine, by how much its time limits are stretched, and a folder of the host for its certificates."""

    machine: Machine
    stretch: float
    folder: Path


@dataclass(frozen=True)
class EngineSettings:
    """What the running engine works with."""

    context_size: int
    temperature: float
    threads: int


def switch_on(guest: LivingGuest) -> GuestState:
    """Power on, wait for the appliance, and look."""
    guest.machine.start()
    return when_ready(guest)


def when_ready(guest: LivingGuest) -> GuestState:
    """Wait until the booting appliance serves, and look."""
    wait_ready(guest)
    return read_state(guest.machine)


def wait_ready(guest: LivingGuest) -> BootTimings:
    return guest.machine.wait_ready(Deadline.after(READY_WITHIN_S * guest.stretch))


def switch_off(guest: LivingGuest) -> None:
    guest.machine.stop(60 * guest.stretch)


def start_with(
    guest: LivingGuest, context: Mapping[str, str], *, address: IPv4Interface | None = None
) -> GuestState:
    """Off, another context (and address) in, on again."""
    switch_off(guest)
    if address is not None:
        guest.machine.move_to(address)
    guest.machine.insert_context(context_of(guest.machine, context))
    return switch_on(guest)


def change_context(guest: LivingGuest, context: Mapping[str, str]) -> None:
    """Swap the running guest's context disk and wait until the new context was applied, well or not."""
    __tracebackhide__ = True
    files = context_of(guest.machine, context)
    guest.machine.change_context(files)
    seconds = APPLIED_WITHIN_S * guest.stretch
    settle = SETTLE.format(seconds=int(seconds), looks=LOOKS)
    result = guest.machine.run(settle, timeout=seconds + 30, input=files["context.sh"])
    assert result.exit_status == 0, (
        f"the new context was not applied within {seconds:.0f} s: {result.stderr.strip()}"
    )


def run_every_script(guest: LivingGuest) -> None:
    """What the package's udev rules run when a disk has a new size: all of it, though no context changed."""
    output(guest.machine, "one-contextd network force", timeout=APPLIED_WITHIN_S * guest.stretch)


def address_of(guest: LivingGuest, state: GuestState) -> ApplianceAddress:
    """Where a client finds the appliance as `state` describes it, and what it trusts then."""
    certificate = guest.folder / f"{state.fingerprint.replace(':', '')}.pem"
    if not certificate.exists():
        certificate.write_text(output(guest.machine, "cat /etc/ssl/slm-copilot/cert.pem"), encoding="ascii")
    https, http = guest.machine.forward(443), guest.machine.forward(80)
    return ApplianceAddress(
        base_url=f"https://{https.host}:{https.port}",
        ca_file=certificate,
        username=state.report["connection.username"],
        password=state.password,
        http_url=f"http://{http.host}:{http.port}",
        model=state.report["connection.model"],
    )


def answer_to_password(guest: LivingGuest, state: GuestState, password: str) -> int:
    """The status of a request with this password."""
    return _get(guest, state, {"Authorization": f"Bearer {password}"}).status_code


def allowed_origin(guest: LivingGuest, state: GuestState, origin: str) -> str:
    """What a browser page of `origin` is told: the origin it may be, empty when none."""
    return str(_get(guest, state, {"Origin": origin}).headers.get("access-control-allow-origin", ""))


def readiness(guest: LivingGuest, state: GuestState) -> int:
    """The status of /readyz, the certificate verified as a client of `state` does."""
    with open_client(address_of(guest, state), auth="none", read_timeout_s=30 * guest.stretch) as client:
        return client.get("/readyz").status_code


def _get(guest: LivingGuest, state: GuestState, headers: Mapping[str, str]) -> httpx.Response:
    with open_client(address_of(guest, state), auth="none", read_timeout_s=30 * guest.stretch) as client:
        return client.get("/v1/models", headers=dict(headers))


def engine_settings(guest: LivingGuest) -> EngineSettings:
    """What the engine that runs now works with."""
    told = engine_loopback.engine_settings(guest.machine)
    return EngineSettings(
        int(told["client_context"]), round(float(told["temperature"]), 6), int(told["threads"])
    )
