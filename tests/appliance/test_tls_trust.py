"""HSTS is asked for where strangers trust the certificate, and only there; readiness is verified by name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bash_guest import Guest, build_guest
from recording_engine import Engine, recording_engine
from test_nginx_site import Site, bearer, running_site

from harness.client.certificate import handshake_facts
from harness.peers.private_ca import Holder, make_authority, make_server, parameters

CONFIGURE = "load_flavor; validate_parameters; check_tls_mode; resolve_addresses; configure_tls"
STORE = "/etc/ssl/certs/ca-certificates.crt"
HSTS = "max-age=15552000"
PASSWORD = "Regex.chars+are/in~this_one-1="
NAMES = ["localhost", "copilot.example.org"]


def custom(holder: Holder, *above: Holder) -> dict[str, str]:
    return parameters("".join(one.pem for one in (holder, *above)), holder.key_pem())


def trust(guest: Guest, *roots: Holder) -> None:
    """What the guest's system trusts: these and one that has nothing to do with it."""
    guest.write(STORE, "".join(one.pem for one in (make_authority("Bystander"), *roots)))


def is_trusted(guest: Guest) -> bool:
    said = guest.run("if certificate_is_publicly_trusted; then echo yes; else echo no; fi")
    return said.stdout.strip() == "yes"


def test_trusted_when_the_chain_leads_to_an_authority_of_the_system(guest: Guest) -> None:
    root = make_authority("root")
    middle = make_authority("middle", root)
    trust(guest, root)
    guest.run(CONFIGURE, **custom(make_server(middle, NAMES), middle))
    assert is_trusted(guest)


def test_not_trusted_without_the_intermediate(guest: Guest) -> None:
    root = make_authority("root")
    trust(guest, root)
    guest.run(CONFIGURE, **custom(make_server(make_authority("middle", root), NAMES)))
    assert not is_trusted(guest)


@pytest.mark.parametrize("store", ["another root", "empty", "missing"])
def test_not_trusted_by_a_store_that_does_not_know_the_root(guest: Guest, store: str) -> None:
    trust(guest)
    if store == "empty":
        guest.write(STORE, "")
    elif store == "missing":
        guest.path(STORE).unlink()
    guest.run(CONFIGURE, **custom(make_server(make_authority("root"), NAMES)))
    assert not is_trusted(guest)


def test_the_appliances_own_certificate_is_not_trusted_and_neither_is_none_at_all(guest: Guest) -> None:
    trust(guest)
    assert not is_trusted(guest)
    guest.run(CONFIGURE)
    assert not is_trusted(guest)


def test_the_environment_cannot_add_an_authority(guest: Guest, tmp_path: Path) -> None:
    root = make_authority("root")
    trust(guest)
    (tmp_path / "root.pem").write_text(root.pem)
    guest.run(CONFIGURE, **custom(make_server(root, NAMES)))
    guest.environment["SSL_CERT_FILE"] = str(tmp_path / "root.pem")
    assert not is_trusted(guest)


# ---- the header


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with recording_engine() as running:
        yield running


@pytest.fixture(scope="module")
def trusted_site(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    guest = build_guest(tmp_path_factory.mktemp("trusted"))
    root = make_authority("root")
    middle = make_authority("middle", root)
    trust(guest, root)
    context = custom(make_server(middle, NAMES, ["127.0.0.1"]), middle)
    with running_site(guest, engine, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD, **context) as site:
        verifying = ssl.create_default_context(cadata=root.pem)
        yield replace(site, context=verifying)


ANSWERS = {
    "a list": ("GET", "/v1/models", bearer(PASSWORD), 200),
    "a refusal": ("GET", "/v1/models", {}, 401),
    "a missing route": ("GET", "/nothing", {}, 404),
    "a wrong method": ("DELETE", "/v1/models", bearer(PASSWORD), 405),
    "a preflight": (
        "OPTIONS",
        "/v1/models",
        {"Origin": "https://ide.example.org", "Access-Control-Request-Method": "GET"},
        204,
    ),
    "readiness": ("GET", "/readyz", {}, 200),
    "readiness with a wrong method": ("POST", "/readyz", {}, 405),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_trusted_site_asks_for_hsts_with(trusted_site: Site, kind: str) -> None:
    method, path, headers, status = ANSWERS[kind]
    trusted_site.ready(True)
    answer = trusted_site.ask(method, path, headers)
    assert answer.status == status
    assert answer.one("Strict-Transport-Security") == HSTS


def test_a_trusted_site_asks_for_hsts_when_it_is_not_ready(trusted_site: Site) -> None:
    trusted_site.ready(False)
    answer = trusted_site.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.one("Strict-Transport-Security") == HSTS


@pytest.mark.parametrize(
    "request_line", ["GET /v1/models HTTP/9.9", "BROKEN", f"GET /{'x' * 9000} HTTP/1.1", "TRACE / HTTP/1.1"]
)
def test_a_trusted_site_asks_for_hsts_with_errors_of_the_parser(
    trusted_site: Site, request_line: str
) -> None:
    answer = trusted_site.raw(f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.status >= 400
    assert answer.one("Strict-Transport-Security") == HSTS


def test_no_answer_without_tls_asks_for_hsts(trusted_site: Site) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for port, status in ((trusted_site.http_port, 308), (trusted_site.https_port, 400)):
        answer = trusted_site.raw(request, tls=False, port=port)
        assert answer.status == status
        assert answer.all("Strict-Transport-Security") == []


def test_nothing_is_stapled_and_the_chain_is_sent_whole(trusted_site: Site) -> None:
    facts = handshake_facts(
        "127.0.0.1",
        trusted_site.https_port,
        server_hostname="localhost",
        ca_file=trusted_site.guest.path(STORE),
    )
    assert len(facts.chain) == 2
    assert facts.chain[0].issuer == facts.chain[1].subject
    assert not facts.ocsp_stapled


@pytest.mark.parametrize("context", ["selfsigned", "custom"])
def test_a_site_that_only_its_owner_trusts_does_not_ask_for_hsts(
    guest: Guest, engine: Engine, context: str
) -> None:
    trust(guest)
    root = make_authority("root")
    given = {} if context == "selfsigned" else custom(make_server(root, NAMES, ["127.0.0.1"]))
    with running_site(guest, engine, **given) as site:
        anchor = guest.path("/etc/ssl/slm-copilot/cert.pem").read_text() if not given else root.pem
        verifying = ssl.create_default_context(cadata=anchor)
        asked = replace(site, context=verifying)
        for _, path, headers, _ in ANSWERS.values():
            assert asked.ask("GET", path, headers).all("Strict-Transport-Security") == []


def test_trust_that_comes_and_goes_is_followed(guest: Guest) -> None:
    site = guest.path("/etc/nginx/sites-enabled/slm-copilot.conf")
    root = make_authority("root")
    trust(guest, root)
    guest.configure(**custom(make_server(root, NAMES)))
    assert f'on "{HSTS}";' in site.read_text()
    guest.configure()
    assert 'on "";' in site.read_text()


# ---- readiness, asked for as a client does


@pytest.mark.parametrize(
    ("names", "addresses"),
    [
        (["copilot.example.org"], []),
        (["*.example.org"], []),
        ([], ["10.0.2.15"]),
        ([], ["2001:db8::7"]),
    ],
)
def test_readiness_is_verified_by_a_name_that_leads_nowhere(
    guest: Guest, engine: Engine, names: list[str], addresses: list[str]
) -> None:
    middle = make_authority("middle", make_authority("root"))
    context = custom(make_server(middle, names, addresses), middle)
    with running_site(guest, engine, **context) as site:
        site.ready(True)
        guest.run("check_public_readiness")
        holder = make_server(middle, ["elsewhere.example.org"])
        for pair in guest.path("/etc/ssl/slm-copilot").glob("pair.*"):
            (pair / "cert.pem").write_text(holder.pem)  # not what nginx has loaded
        guest.stub("sleep", "#!/bin/sh\n")
        refused = guest.run("check_public_readiness", check=False)
        assert refused.returncode != 0
        assert "https://elsewhere.example.org/readyz" in refused.stderr
