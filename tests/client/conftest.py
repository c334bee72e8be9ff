from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from scripted_server import Reply, make_certificate, serve, server_context

from harness.client.https import ApplianceAddress


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def appliance(certificate: tuple[Path, Path]) -> Iterator[Callable[[Reply], ApplianceAddress]]:
    """Serve a reply over real TLS and say how to reach it."""
    with ExitStack() as servers:

        def start(reply: Reply) -> ApplianceAddress:
            port = servers.enter_context(serve(reply, server_context(*certificate)))
            return ApplianceAddress(
                base_url=f"https://127.0.0.1:{port}",
                ca_file=certificate[0],
                username="admin",
                password="Passw0rd-of-a-test",
                model="scripted",
            )

        yield start
