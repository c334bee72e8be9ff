"""The profile's verdict on servers that keep it and on one that does not."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from scripted_server import serve

from harness.client.https import ApplianceAddress
from harness.client.tls_profile import profile_issues
from harness.errors import HarnessError
from harness.peers.private_ca import Holder, make_authority, make_server

NAME = "copilot.slm.test"
INTERMEDIATE = "ECDHE+AESGCM:ECDHE+CHACHA20"


def context(folder: Path, holder: Holder) -> ssl.SSLContext:
    (folder / "cert.pem").write_text(holder.pem)
    (folder / "key.pem").write_text(holder.key_pem())
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(INTERMEDIATE)
    made.set_ecdh_curve("prime256v1")
    return made


def judged(folder: Path, tls: ssl.SSLContext, root: Holder) -> dict[str, str]:
    (folder / "root.pem").write_text(root.pem)
    with serve(lambda _request, _connection: None, tls) as port:
        address = ApplianceAddress(
            f"https://127.0.0.1:{port}", folder / "root.pem", "admin", "x", server_name=NAME
        )
        return profile_issues(address)


def test_a_port_that_keeps_the_profile_has_no_issue(tmp_path: Path) -> None:
    root = make_authority("root")
    assert judged(tmp_path, context(tmp_path, make_server(root, [NAME])), root) == {}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_breaks_the_profile_is_named(tmp_path: Path) -> None:
    root = make_authority("root")
    lax = context(tmp_path, make_server(root, ["other.slm.test"], days=500))
    lax.minimum_version = ssl.TLSVersion.TLSv1_1
    lax.set_ciphers("ALL:@SECLEVEL=0")
    assert set(judged(tmp_path, lax, root)) == {
        "tls_versions",
        "ciphers",
        "maximum_certificate_lifespan",
        "certificate_path_validation",
    }


def test_a_port_where_nobody_answers_is_the_hosts_fault(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(make_authority("root").pem)
    address = ApplianceAddress("https://127.0.0.1:1", tmp_path / "root.pem", "admin", "x", server_name=NAME)
    with pytest.raises(HarnessError, match=r"could not scan https://127\.0\.0\.1:1"):
        profile_issues(address)
