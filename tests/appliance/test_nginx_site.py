"""The rendered site in a real nginx on loopback ports, with a recording engine behind it."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from bash_guest import Guest
from nginx_site import (
    CHAT,
    CONFIGURE,
    ORIGIN,
    PASSWORD,
    READY,
    ROUTES,
    Site,
    basic,
    bearer,
    free_ports,
    running_site,
)
from recording_engine import Engine, recording_engine


@pytest.fixture(scope="module")
def shared_site(guest_factory: Callable[[str], Guest]) -> Iterator[Site]:
    with (
        recording_engine() as engine,
        running_site(guest_factory("site"), engine, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD) as site,
    ):
        yield site


@pytest.fixture
def site(shared_site: Site) -> Site:
    shared_site.engine.forget()
    shared_site.engine.healthy = True
    shared_site.engine.events, shared_site.engine.gap_s = 4, 0.15
    shared_site.ready(True)
    return shared_site


# ---- who may come in


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        bearer(),
        basic(),
        basic(scheme="basic"),
        basic(scheme="BASIC"),
        {"Authorization": f"bearer {PASSWORD}"},
        {"authorization": f"Bearer  {PASSWORD}"},
    ],
)
def test_the_right_password_opens_every_route(
    site: Site, method: str, path: str, headers: dict[str, str]
) -> None:
    assert site.ask(method, path, headers, "{}" if method == "POST" else None).status == 200


WRONG: Sequence[dict[str, str]] = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": PASSWORD},
    {"Authorization": f"Token {PASSWORD}"},
    {"Authorization": f"Bearer{PASSWORD}"},
    {"X-Api-Key": PASSWORD},
    {"Api-Key": PASSWORD},
    {"Cookie": f"Authorization=Bearer {PASSWORD}"},
    bearer(PASSWORD.lower()),
    bearer(PASSWORD.upper()),
    bearer(PASSWORD.swapcase()),
    bearer(PASSWORD[:-1]),
    bearer(PASSWORD + "x"),
    bearer("x" + PASSWORD),
    bearer(PASSWORD + " " + PASSWORD),
    bearer(PASSWORD.replace(".", "x")),
    bearer(PASSWORD.replace("+", "")),
    bearer(".*"),
    bearer("admin:" + PASSWORD),
    basic("wrong-password"),
    basic(""),
    basic(user="root"),
    basic(user="Admin"),
    basic(user=""),
    {"Authorization": basic()["Authorization"].swapcase()},
    {"Authorization": basic()["Authorization"].rstrip("=")[:-1]},
]


@pytest.mark.parametrize("headers", WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_everything_else_is_401_on_every_route(site: Site, headers: dict[str, str]) -> None:
    for method, path in ROUTES:
        answer = site.ask(method, path, headers, "{}" if method == "POST" else None)
        assert answer.status == 401
        assert answer.error()["code"] == "invalid_api_key"
        assert answer.all("WWW-Authenticate") == [
            'Basic realm="SLM-Copilot", charset="UTF-8"',
            'Bearer realm="SLM-Copilot"',
        ]
    assert site.engine.received == []


def test_a_password_in_the_address_is_no_password(site: Site) -> None:
    assert site.ask("GET", f"/v1/models?api_key={PASSWORD}&key={PASSWORD}").status == 401


def test_two_authorization_headers_are_refused(site: Site) -> None:
    head = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    right, wrong = f"Authorization: Bearer {PASSWORD}\r\n", "Authorization: Bearer wrong\r\n"
    assert site.raw(f"{head}{right}\r\n".encode()).status == 200
    for both in (wrong + right, right + wrong):
        assert site.raw(f"{head}{both}\r\n".encode()).status in (400, 401)


# ---- what there is

ELSEWHERE = [
    "/",
    "/v1",
    "/v1/",
    "/v1/models/",
    "/v1/models/smollm2-135m-instruct",
    "//v1/models",
    "/v1//models",
    "/V1/models",
    "/v1/Models",
    "/models",
    "/health",
    "/v1/health",
    "/slots",
    "/slots/0?action=save",
    "/props",
    "/metrics",
    "/completion",
    "/completions",
    "/chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions/control",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/embedding",
    "/infill",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/lora-adapters",
    "/tools",
    "/cors-proxy",
    "/v1/models/../../slots",
    "/v1/models/%2e%2e/%2e%2e/slots",
    "/v1/models%2f..%2f..%2fslots",
    "/v1/models;x",
    "/v1/models%00",
    "/v1/models%0a",
    "/.slm-copilot/engine-health",
    "/.slm-copilot/error/400",
    "/ready.json",
    "/readyz/",
    "/.well-known/acme-challenge/x",
    "/index.html",
]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_nothing_else_exists_with_or_without_password(site: Site, path: str) -> None:
    for method in ("GET", "POST"):
        for headers in (
            {},
            bearer(),
            {**bearer(), "X-Forwarded-Prefix": "/slots", "X-Original-URI": "/slots"},
        ):
            answer = site.ask(method, path, headers, "{}" if method == "POST" else None)
            assert answer.status in (404, 400), path
            assert answer.status == 404 or "%0" in path
            answer.error()
    assert site.engine.received == []


@pytest.mark.parametrize(
    ("path", "reaches"),
    [
        ("/v1/models?x=1&path=/slots", "/v1/models"),
        ("/v1/%6dodels", "/v1/models"),
        ("/v1/./models", "/v1/models"),
        ("/x/../v1/models#frag", "/v1/models"),
    ],
)
def test_the_engine_gets_the_route_not_the_path(site: Site, path: str, reaches: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = site.raw(f"{head}Authorization: Bearer {PASSWORD}\r\n\r\n".encode())
    assert answer.status == 200
    assert site.engine.last().target == reaches


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST, OPTIONS"),
        ("PUT", CHAT, "POST, OPTIONS"),
        ("DELETE", "/v1/completions", "POST, OPTIONS"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/v1/models", "GET, HEAD, OPTIONS"),
        ("BREW", "/v1/models", "GET, HEAD, OPTIONS"),
        ("POST", "/readyz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_405_with_allow(site: Site, method: str, path: str, allow: str) -> None:
    answer = site.ask(method, path, bearer())
    assert answer.status == 405
    assert answer.one("Allow") == allow
    assert answer.error()["code"] == "method_not_allowed"
    assert [request for request in site.engine.received if request.target != "/health"] == []


def test_head_is_answered_where_get_is(site: Site) -> None:
    answer = site.ask("HEAD", "/v1/models", bearer())
    assert (answer.status, answer.body) == (200, b"")
    assert site.ask("HEAD", "/readyz").status == 200


# ---- what passes through


def test_only_harmless_headers_reach_the_engine(site: Site) -> None:
    sent = {
        **bearer(),
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Cookie": "a=b",
        "Origin": ORIGIN,
        "Referer": "https://x",
        "X-Forwarded-Prefix": "/slots",
        "X-Forwarded-For": "6.6.6.6",
        "X-Api-Key": PASSWORD,
        "X-Conversation-Id": "1",
        "X-Stainless-Os": "Linux",
        "Proxy": "http://evil",
        "User-Agent": "curl",
        "Accept-Encoding": "gzip",
        "Upgrade": "h2c",
        "TE": "trailers",
    }
    body = json.dumps({"messages": []})
    assert site.ask("POST", CHAT + "?secret=1", sent, body).status == 200
    got = site.engine.last()
    assert got.target == CHAT
    assert got.body.decode() == body
    assert got.headers == {
        "host": f"127.0.0.1:{site.engine.port}",
        "content-type": "application/json",
        "accept": "text/event-stream",
        "content-length": str(len(body)),
        "connection": "close",
    }


def test_a_chunked_body_arrives_whole(site: Site) -> None:
    chunks = [b'{"messages":', b'"' + b"x" * 70_000 + b'"', b"}"]
    connection = site.connection()
    connection.request("POST", CHAT, body=iter(chunks), headers=bearer(), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert site.engine.last().body == b"".join(chunks)


def test_the_engines_own_headers_stay_inside(site: Site) -> None:
    answer = site.ask("POST", CHAT, {**bearer(), "Origin": ORIGIN}, "{}")
    assert answer.one("Server") == "nginx"
    assert answer.one("Access-Control-Allow-Origin") == ORIGIN
    assert answer.one("Cache-Control") == "no-store"
    assert answer.one("X-Accel-Buffering") == "no"
    assert answer.one("Vary") == "Origin"
    for name in ("Access-Control-Allow-Credentials", "Keep-Alive", "Set-Cookie", "X-Accel-Redirect"):
        assert answer.all(name) == []


@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_the_engines_own_errors_pass_unchanged(site: Site, status: int) -> None:
    answer = site.ask("POST", CHAT, bearer(), json.dumps({"answer_with": status}))
    assert answer.status == status
    assert json.loads(answer.body)["object"] == "answer"
    assert answer.one("Retry-After") == ("5" if status == 503 else None)


@pytest.mark.timing
def test_a_stream_passes_byte_by_byte(site: Site) -> None:
    connection = site.connection()
    connection.request("POST", CHAT, body='{"stream": true}', headers=bearer())
    answer = connection.getresponse()
    arrivals, text = [], b""
    while line := answer.readline():
        if line.startswith(b"data:"):
            arrivals.append(time.monotonic())
        text += line
    connection.close()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert text.endswith(b"data: [DONE]\n\n")
    gaps = [after - before for before, after in itertools.pairwise(arrivals)]
    assert len(gaps) == site.engine.events
    assert min(gaps) > site.engine.gap_s / 3, gaps


def test_a_client_that_leaves_frees_the_engine(site: Site) -> None:
    site.engine.events, site.engine.gap_s = 100, 0.05
    connection = site.connection()
    connection.request("POST", CHAT, body='{"stream": true}', headers=bearer())
    connection.getresponse().readline()
    assert connection.sock is not None
    connection.sock.close()
    connection.close()
    assert site.engine.left_early.wait(2)


def test_no_prompt_becomes_a_file(site: Site) -> None:
    body = json.dumps({"prompt": "needle " * 200_000})
    assert site.ask("POST", CHAT, bearer(), body).status == 200
    spooled = [path for path in site.guest.path("/nginx-body").rglob("*") if path.is_file()]
    assert spooled == []
    error_log = site.guest.path("/var/log/nginx/error.log").read_text()
    assert "temporary file" not in error_log + site.journal.read()


# ---- errors of nginx itself


def test_a_body_over_10_mib_is_413(site: Site) -> None:
    answer = site.raw(
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PASSWORD}\r\n"
        f"Content-Length: {10 * 1024 * 1024 + 1}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.status == 413
    assert answer.error()["code"] == "request_too_large"


def test_a_body_of_almost_10_mib_passes(site: Site) -> None:
    body = b'{"x":"' + b"y" * (10 * 1024 * 1024 - 100) + b'"}'
    assert site.ask("POST", CHAT, bearer(), body).status == 200
    assert len(site.engine.last().body) == len(body)


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        ("GET / HTTP/1.1\r\nX: " + "y" * 9000, 431, "headers_too_large"),
        (
            "GET / HTTP/1.1\r\n" + "".join(f"X{n}: {'y' * 8000}\r\n" for n in range(5)).rstrip(),
            431,
            "headers_too_large",
        ),
        ("GET /" + "y" * 9000 + " HTTP/1.1", 414, "uri_too_long"),
        ("nonsense", 400, "bad_request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400, "bad_request"),
        ("GET / HTTP/1.1\r\nContent-Length: -5", 400, "bad_request"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400, "bad_request"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip", 501, "not_implemented"),
        ("TRACE / HTTP/1.1\r\nHost: a", 405, "method_not_allowed"),
    ],
)
@pytest.mark.parametrize("tls", [True, False])
def test_broken_requests_get_json(site: Site, request_head: str, status: int, code: str, tls: bool) -> None:
    head = (
        request_head
        if "Host:" in request_head or "HTTP" not in request_head
        else request_head + "\r\nHost: localhost"
    )
    port = None if tls else site.http_port
    answer = site.raw(f"{head}\r\nConnection: close\r\n\r\n".encode(), tls=tls, port=port)
    assert answer.status == status
    assert answer.error()["code"] == code


def test_plain_http_on_the_tls_port_says_so(site: Site) -> None:
    answer = site.raw(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", tls=False)
    assert answer.status == 400
    assert answer.error()["code"] == "https_required"


def test_without_engine_503_in_json_with_retry_after(guest_factory: Callable[[str], Guest]) -> None:
    [port] = free_ports(1)
    with running_site(guest_factory("dead"), Engine(port), ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD) as site:
        site.ready(True)
        for method, path in ROUTES:
            answer = site.ask(
                method, path, {**bearer(), "Origin": ORIGIN}, "{}" if method == "POST" else None
            )
            assert answer.status == 503
            assert answer.error()["code"] == "engine_unavailable"
            assert answer.one("Retry-After") == "5"
            assert answer.one("Access-Control-Allow-Origin") == ORIGIN
        answer = site.ask("GET", "/readyz")
        assert answer.status == 503
        assert answer.error()["code"] == "not_ready"
        assert site.ask("GET", "/v1/models").status == 401


# ---- readiness


def test_ready_needs_no_password(site: Site) -> None:
    answer = site.ask("GET", "/readyz")
    assert (answer.status, answer.body.decode()) == (200, READY)
    assert answer.one("Content-Type") == "application/json"
    assert answer.one("Cache-Control") == "no-store"
    assert answer.all("ETag") == answer.all("Last-Modified") == answer.all("WWW-Authenticate") == []


def test_ready_is_never_a_304_or_a_part(site: Site) -> None:
    headers = {
        "If-Modified-Since": "Thu, 01 Jan 2099 00:00:00 GMT",
        "If-None-Match": "*",
        "Range": "bytes=0-3",
    }
    assert site.ask("GET", "/readyz", headers).status == 200


def test_not_ready_without_the_file_although_the_engine_lives(site: Site) -> None:
    site.ready(False)
    answer = site.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.error()["code"] == "not_ready"
    assert answer.one("Retry-After") == "5"


def test_not_ready_with_the_file_although_the_engine_is_ill(site: Site) -> None:
    site.engine.healthy = False
    answer = site.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.error()["code"] == "not_ready"


# ---- other origins


def preflight(
    method: str = "POST", origin: str = ORIGIN, headers: str = "authorization,x-stainless-os"
) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_preflight_needs_no_password(site: Site, method: str, path: str) -> None:
    answer = site.ask("OPTIONS", path, preflight(method))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.one("Access-Control-Allow-Origin") == ORIGIN
    assert method in (answer.one("Access-Control-Allow-Methods") or "")
    assert answer.one("Access-Control-Allow-Headers") == "authorization,x-stainless-os"
    assert answer.one("Access-Control-Max-Age") == "600"
    assert answer.one("Vary") == "Origin"
    assert answer.all("Access-Control-Allow-Credentials") == []
    assert site.engine.received == []


@pytest.mark.parametrize(("status", "headers"), [(401, {}), (200, bearer())])
def test_answers_to_pages_carry_the_origin_once(site: Site, status: int, headers: dict[str, str]) -> None:
    answer = site.ask("GET", "/v1/models", {**headers, "Origin": ORIGIN})
    assert answer.status == status
    assert answer.one("Access-Control-Allow-Origin") == ORIGIN
    assert answer.one("Vary") == "Origin"
    assert answer.all("Access-Control-Allow-Methods") == []


def test_no_origin_no_cors_headers(site: Site) -> None:
    answer = site.ask("GET", "/v1/models", bearer())
    assert [name for name, _ in answer.headers if name.lower().startswith("access-control")] == []


def test_wished_headers_are_reflected_only_in_clean_form(site: Site) -> None:
    answer = site.ask("OPTIONS", CHAT, preflight(headers="authorization<script>"))
    assert answer.one("Access-Control-Allow-Headers") == "Authorization, Content-Type, Accept"


def test_only_listed_origins(guest_factory: Callable[[str], Guest]) -> None:
    listed = "https://IDE.example.org:443, http://localhost:3000,https://[2001:db8::1]:9443"
    with (
        recording_engine() as engine,
        running_site(
            guest_factory("cors"), engine, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD, ONEAPP_SLM_CORS_ORIGINS=listed
        ) as site,
    ):
        for origin in ("https://ide.example.org", "http://localhost:3000", "https://[2001:db8::1]:9443"):
            answer = site.ask("OPTIONS", CHAT, preflight(origin=origin))
            assert answer.status == 204
            assert answer.one("Access-Control-Allow-Origin") == origin
        for origin in (
            "https://evil.example",
            "https://ide.example.org.evil.example",
            "https://xide.example.org",
            "http://ide.example.org",
            "https://ide.example.org:8443",
            "http://localhost",
            "null",
        ):
            for answer in (
                site.ask("OPTIONS", CHAT, preflight(origin=origin)),
                site.ask("GET", "/v1/models", {**bearer(), "Origin": origin}),
            ):
                assert [name for name, _ in answer.headers if name.lower().startswith("access-control")] == []
                assert answer.one("Vary") == "Origin"


# ---- port 80


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("copilot.example.org", "copilot.example.org"),
        ("Copilot.Example.ORG:8080", "copilot.example.org"),
        ("10.0.2.15", "10.0.2.15"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("evil.example/path", None),
        ("evil_host", "10.0.2.15"),
        ("a@evil.example", "10.0.2.15"),
        ("evil.example?x", "10.0.2.15"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_port_80_redirects_with_308(site: Site, method: str, host: str, target: str | None) -> None:
    answer = site.raw(
        f"{method} /v1/models?a=b%0d%0a HTTP/1.1\r\nHost: {host}\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n".encode(),
        tls=False,
        port=site.http_port,
    )
    if target is None:
        assert answer.status == 400
    else:
        assert answer.status == 308
        assert answer.one("Location") == f"https://{target}/v1/models?a=b%0d%0a"
        assert answer.one("Cache-Control") == "no-store"


def test_port_80_without_host_redirects_to_the_address(site: Site) -> None:
    answer = site.raw(b"GET /x HTTP/1.0\r\n\r\n", tls=False, port=site.http_port)
    assert (answer.status, answer.one("Location")) == (308, "https://10.0.2.15/x")


def test_port_80_keeps_a_place_for_acme(site: Site) -> None:
    site.guest.write("/var/lib/slm-copilot/acme/.well-known/acme-challenge/token", "proof")
    for folder in ("var", "var/lib", "var/lib/slm-copilot", "var/lib/slm-copilot/acme"):
        site.guest.path(folder).chmod(0o755)
    request = "GET /.well-known/acme-challenge/{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    found = site.raw(request.format("token").encode(), tls=False, port=site.http_port)
    assert (found.status, found.body) == (200, b"proof")
    missing = site.raw(request.format("other").encode(), tls=False, port=site.http_port)
    assert missing.status == 404
    assert missing.error()["code"] == "unknown_url"


# ---- TLS and logs


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_tls_versions(site: Site, version: ssl.TLSVersion, accepted: bool) -> None:
    context = ssl.create_default_context(cafile=site.guest.path("/etc/ssl/slm-copilot/cert.pem"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", site.https_port), timeout=10) as plain:
        if accepted:
            with context.wrap_socket(plain, server_hostname="localhost") as secured:
                assert secured.version() == f"TLSv1.{version.name[-1]}"
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(plain, server_hostname="localhost")


def test_no_session_tickets(site: Site) -> None:
    context = ssl.create_default_context(cafile=site.guest.path("/etc/ssl/slm-copilot/cert.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", site.https_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.session is not None
        assert not secured.session.has_ticket


def test_the_access_log_has_no_secrets_and_no_queries(site: Site) -> None:
    site.ask("POST", CHAT + "?api_key=in-the-query", bearer(), json.dumps({"prompt": "in-the-body"}))
    log = site.journal.read()
    assert f'"POST {CHAT} HTTP/1.1" 200' in log
    for secret in ("in-the-query", "in-the-body", PASSWORD, basic()["Authorization"].split()[1]):
        assert secret not in log


def test_a_request_that_fails_is_logged_without_its_query(site: Site) -> None:
    site.ask("GET", "/v1/models?api_key=in-the-query", bearer())
    connection = site.connection()
    connection.request("POST", CHAT + "?api_key=in-the-query", '{"answer_with": 503}', bearer())
    connection.getresponse().read()
    connection.close()
    assert "in-the-query" not in site.journal.read()


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 401), ("/nowhere", 404)])
def test_who_is_refused_often_on_one_connection_is_logged_once(site: Site, path: str, status: int) -> None:
    site.journal.read()
    site.journal.text = ""
    connection = site.connection()
    for _ in range(50):
        connection.request("GET", path)
        assert connection.getresponse().read()
    connection.close()
    assert len(site.journal.read().splitlines()) == 1
    assert f'" {status} ' in site.journal.text


def test_what_is_served_is_logged_each_time(site: Site) -> None:
    site.journal.read()
    site.journal.text = ""
    connection = site.connection()
    for _ in range(5):
        connection.request("GET", "/v1/models", headers=bearer())
        assert connection.getresponse().read()
    connection.close()
    assert len(site.journal.read().splitlines()) == 5


# ---- how it is installed


def test_file_modes_and_no_default_site(site: Site) -> None:
    def mode(name: str) -> str:
        return oct(site.guest.path(name).stat().st_mode & 0o777)

    assert mode("/etc/nginx/slm-copilot/auth.conf") == "0o600"
    assert mode("/etc/nginx/sites-enabled/slm-copilot.conf") == "0o644"
    assert PASSWORD not in site.guest.path("/etc/nginx/sites-enabled/slm-copilot.conf").read_text()
    assert not site.guest.path("/etc/nginx/sites-enabled/default").exists()


def test_every_token_is_filled_in(site: Site) -> None:
    text = site.guest.path("/etc/nginx/sites-enabled/slm-copilot.conf").read_text()
    words = {word.strip(";{}") for word in text.split() if word.count("@") > 1}
    assert words == set()


def test_more_requests_than_the_engine_takes_are_429(guest_factory: Callable[[str], Guest]) -> None:
    with recording_engine() as engine:
        engine.events, engine.gap_s = 40, 0.1
        guest = guest_factory("busy")
        guest.environment["SLM_MAX_REQUESTS"] = "2"
        with running_site(guest, engine, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD) as site:
            busy = [site.connection() for _ in range(2)]
            for connection in busy:
                connection.request("POST", CHAT, body='{"stream": true}', headers=bearer())
                connection.getresponse().readline()
            answer = site.ask("POST", CHAT, bearer(), "{}")
            assert answer.status == 429
            assert answer.error()["type"] == "rate_limit_error"
            assert answer.one("Retry-After") == "2"
            assert site.ask("POST", CHAT, {}, "{}").status == 401
            site.ready(True)
            assert site.ask("GET", "/readyz").status == 200
            for connection in busy:
                assert connection.sock is not None
                connection.sock.close()


@pytest.fixture
def configured(guest: Guest) -> Guest:
    guest.run(CONFIGURE)
    guest.path("/run/slm-copilot/pending-nginx").unlink()
    return guest


def test_an_unchanged_site_needs_no_reload(configured: Guest) -> None:
    site = configured.path("/etc/nginx/sites-enabled/slm-copilot.conf")
    before = site.stat().st_mtime_ns
    configured.run(CONFIGURE)
    assert site.stat().st_mtime_ns == before
    assert not configured.path("/run/slm-copilot/pending-nginx").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"ONEAPP_SLM_CORS_ORIGINS": ORIGIN},
        {"ONEAPP_SLM_ADMIN_PASSWORD": PASSWORD},
        {"FAKE_ADDRESSES": "10.0.2.99"},
    ],
)
def test_a_change_asks_for_a_reload(configured: Guest, change: dict[str, str]) -> None:
    configured.run(CONFIGURE, **change)
    assert configured.path("/run/slm-copilot/pending-nginx").exists()


def test_what_nginx_refuses_never_replaces_the_good_site(configured: Guest, tmp_path: Path) -> None:
    names = ("/etc/nginx/sites-enabled/slm-copilot.conf", "/etc/nginx/slm-copilot/auth.conf")
    before = [configured.path(name).read_bytes() for name in names]
    script = CONFIGURE.replace(
        "configure_proxy", "render_errors() { echo 'no_such_directive on;'; }; configure_proxy"
    )
    result = configured.run(script, check=False, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD)
    assert result.returncode != 0
    assert "no_such_directive" in result.stderr
    assert "the previous one stays" in result.stderr
    assert [configured.path(name).read_bytes() for name in names] == before
    assert sorted(path.name for path in configured.path("/etc/nginx").iterdir()) == [
        "nginx.conf",
        "sites-enabled",
        "slm-copilot",
    ]
    assert not configured.path("/run/slm-copilot/pending-nginx").exists()
    assert tmp_path.exists()


def test_what_a_power_cut_left_of_an_earlier_change_goes_away(configured: Guest) -> None:
    left = [
        "/etc/nginx/.slm-copilot-check.Ab12Cd/auth.conf",
        "/etc/nginx/.slm-copilot-check.Ab12Cd.conf",
        "/etc/nginx/slm-copilot/.auth.conf.Ab12Cd",
        "/etc/nginx/sites-enabled/.slm-copilot.conf.Ab12Cd",
    ]
    for name in left:
        configured.write(name, "a password")
    configured.run(CONFIGURE)
    assert [name for name in left if configured.path(name).exists()] == []
