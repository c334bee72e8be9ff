import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_server import Reply, make_certificate, serve, server_context

from harness.client.certificate import read_certificate, refused_version, served_certificate
from harness.client.https import ApplianceAddress

Serve = Callable[[Reply], ApplianceAddress]


def silent(_request: bytes, _connection: object) -> None:
    pass


def test_facts_of_a_served_certificate(appliance: Serve, certificate: tuple[Path, Path]) -> None:
    address = appliance(silent)
    facts = served_certificate(
        address.host, address.port, server_hostname="scripted", ca_file=address.ca_file
    )
    assert facts == read_certificate(certificate[0].read_bytes())
    assert (facts.dns_names, facts.addresses) == (("scripted",), ("127.0.0.1",))
    assert (facts.key_type, facts.key_bits, facts.signature_hash) == ("secp256r1", 256, "sha256")
    assert (facts.is_ca, facts.extended_key_usage) == (False, ("serverAuth",))
    assert len(facts.fingerprint_sha256.split(":")) == 32
    assert facts.covers("SCRIPTED")
    assert facts.covers("127.0.0.1")
    assert not facts.covers("127.0.0.2")
    assert 29 <= (facts.not_after - facts.not_before).days <= 31


def test_a_name_it_lacks_is_refused(appliance: Serve) -> None:
    address = appliance(silent)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        served_certificate(address.host, address.port, server_hostname="10.0.2.15", ca_file=address.ca_file)


def test_a_missing_extension_reads_as_missing(tmp_path: Path) -> None:
    facts = read_certificate(make_certificate(tmp_path, addresses=())[0].read_bytes())
    assert facts.addresses == ()


def test_which_versions_a_port_refuses(certificate: tuple[Path, Path]) -> None:
    context = server_context(*certificate)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serve(silent, context) as port:
        said = {
            version: refused_version(
                "127.0.0.1", port, version, server_hostname="127.0.0.1", ca_file=certificate[0]
            )
            for version in ("TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
        }
    assert said["TLSv1.2"] is None
    assert all(said[version] for version in ("TLSv1.0", "TLSv1.1", "TLSv1.3")), said


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_refusal_is_the_servers_not_ours(certificate: tuple[Path, Path]) -> None:
    """A server which does speak TLS 1.1 is reported so, although this host's default would not."""
    context = server_context(*certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    with serve(silent, context) as port:
        for version in ("TLSv1.0", "TLSv1.1"):
            refused = refused_version(
                "127.0.0.1", port, version, server_hostname="127.0.0.1", ca_file=certificate[0]
            )
            assert refused is None, f"{version}: {refused}"
