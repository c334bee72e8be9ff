"""Waiting for the appliance to serve again."""

from __future__ import annotations

import time

import httpx

from harness.client.https import ApplianceAddress, open_client
from harness.deadline import Deadline, NotYet, wait_until


def wait_for_ready(appliance: ApplianceAddress, seconds: float) -> float:
    """Seconds until /readyz says 200; each try on a connection of its own, for nginx may have been away."""
    started = time.monotonic()

    def check(_last_try: bool) -> bool | None:
        try:
            with open_client(appliance, auth="none", read_timeout_s=20) as client:
                response = client.get("/readyz")
        except httpx.TransportError as error:
            raise NotYet(repr(error)) from error
        if response.status_code == 200:
            return True
        raise NotYet(f"{response.status_code} {response.text[:200]}")

    wait_until(check, Deadline.after(seconds), what="/readyz after a fault", interval=0.2)
    return time.monotonic() - started
