"""Small things that every client does often, timed by pytest-benchmark; who changes Nginx looks here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.bench.direct import outside
from harness.client.https import ApplianceAddress, open_client, verifying_context
from harness.machine.protocol import Machine
from suites.benchmark.recording import Recorder

ROUNDS = 30


def test_a_tls_handshake(
    benchmark: Any, machine: Machine, appliance: ApplianceAddress, kernels: Callable[..., None]
) -> None:
    connect, context = outside(machine), verifying_context(appliance.ca_file)

    def shake() -> None:
        with (
            connect() as plain,
            context.wrap_socket(plain, server_hostname=appliance.verified_name) as secured,
        ):
            secured.do_handshake()

    benchmark.pedantic(shake, rounds=ROUNDS, warmup_rounds=3)
    kernels("tls_handshake", benchmark)


@pytest.mark.parametrize(("name", "path"), [("list_models", "/v1/models"), ("readiness", "/readyz")])
def test_a_request_over_an_open_connection(
    benchmark: Any, appliance: ApplianceAddress, name: str, path: str, kernels: Callable[..., None]
) -> None:
    with open_client(appliance) as client:
        assert client.get(path).status_code == 200
        benchmark.pedantic(lambda: client.get(path), rounds=ROUNDS, warmup_rounds=3)
    kernels(name, benchmark)


def test_a_refusal(benchmark: Any, appliance: ApplianceAddress, kernels: Callable[..., None]) -> None:
    with open_client(appliance) as client:
        wrong = {"Authorization": "Bearer wrong"}
        assert client.get("/v1/models", headers=wrong).status_code == 401
        benchmark.pedantic(lambda: client.get("/v1/models", headers=wrong), rounds=ROUNDS, warmup_rounds=3)
    kernels("refusal", benchmark)


@pytest.fixture
def kernels(values: Recorder) -> Callable[..., None]:
    def record(name: str, benchmark: Any) -> None:
        values.median(
            "kernel", "s", list(benchmark.stats.stats.data), labels={"kernel": name}, better="lower",
            formula="wall clock of one call",
        )  # fmt: skip

    return record
