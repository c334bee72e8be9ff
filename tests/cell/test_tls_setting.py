"""What a cell's TLS mode needs outside the guest is there before the guest boots, and gone with the cell."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509

from harness.cell.tls_setting import DOMAIN, TlsSetting, prepare_tls
from harness.errors import HarnessError
from harness.machine.protocol import HostAddress, Machine


@dataclass(frozen=True)
class SwitchedOff:
    """As much of a machine as is known before it is switched on."""

    guest_address: str = "10.0.2.15"
    host_address: str = "10.0.2.2"
    host_listen: str = "127.0.0.1"

    def forward(self, guest_port: int) -> HostAddress:
        return HostAddress("127.0.0.1", 20000 + guest_port)


MACHINE = cast(Machine, SwitchedOff())


def test_selfsigned_needs_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        assert prepare_tls("selfsigned", MACHINE, stack, tmp_path) == TlsSetting()
    assert list(tmp_path.iterdir()) == []


def test_custom_is_trusted_by_its_root_and_names_where_clients_connect(tmp_path: Path) -> None:
    with ExitStack() as stack:
        setting = prepare_tls("custom", MACHINE, stack, tmp_path)
    chain = base64.b64decode(setting.context["ONEAPP_SLM_TLS_CERT"])
    leaf, *above = x509.load_pem_x509_certificates(chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name) for name in names.get_values_for_type(x509.IPAddress)} >= {"127.0.0.1", "10.0.2.15"}
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert setting.trust is not None
    root = x509.load_pem_x509_certificate(setting.trust.read_bytes())
    above[-1].verify_directly_issued_by(root)
    assert (setting.server_name, setting.pebble) == ("", None)


def test_letsencrypt_has_a_server_that_asks_the_guest_by_name(tmp_path: Path) -> None:
    with ExitStack() as stack:
        setting = prepare_tls("letsencrypt", MACHINE, stack, tmp_path)
        assert setting.pebble is not None
        assert setting.pebble.guest == HostAddress("127.0.0.1", 20080)
        assert setting.context["ONEAPP_SLM_DOMAIN"] == setting.server_name == DOMAIN
        assert setting.context["ONEAPP_SLM_ACME_DIRECTORY"].startswith("https://10.0.2.2:")
        assert setting.trust is not None
        assert setting.trust.read_text() == setting.pebble.root_pem()
    with pytest.raises(HarnessError, match="does not answer"):
        setting.pebble.root_pem()
    assert not list(tmp_path.rglob("*.key")), "a key would be kept with the evidence"
