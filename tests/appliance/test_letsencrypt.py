"""TLS mode letsencrypt: what is served, when an ACME server is asked, and what becomes of a failure."""

from __future__ import annotations

import base64
import configparser
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bash_guest import APPLIANCE, Guest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from moments import Moments

CERT, KEY = "/etc/ssl/slm-copilot/cert.pem", "/etc/ssl/slm-copilot/key.pem"
STATE = "/etc/slm-copilot/certificate-state"
LIVE = "/etc/letsencrypt/live/slm-copilot"
RENEWAL = "/etc/letsencrypt/renewal/slm-copilot.conf"
NOTICE = "/etc/motd.d/slm-copilot-certificate"
DIRECTORY = "https://ca.example.org/acme/directory"
DOMAIN = "copilot.example.org"
LETSENCRYPT = {
    "ONEAPP_SLM_TLS_MODE": "letsencrypt",
    "ONEAPP_SLM_DOMAIN": DOMAIN,
    "ONEAPP_SLM_ACME_DIRECTORY": DIRECTORY,
}
STEPS = (
    "load_flavor; validate_parameters; check_tls_mode; resolve_addresses; resolve_password; "
    "hold_certificate_keeper; configure_tls; configure_proxy; write_certificate_settings"
)
LAST_STEPS = "hold_certificate_keeper; start_proxy; obtain_certificate; start_certificate_keeper"
BOOT = f"{STEPS}; {LAST_STEPS}"
BOOTSTRAP = f"load_flavor; validate_parameters; resolve_addresses; resolve_password; {LAST_STEPS}"
REFUSED = """\
Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for copilot.example.org

Certbot failed to authenticate some domains (authenticator: webroot). The CA reported these problems:
  Domain: copilot.example.org
  Type:   dns
  Detail: No valid IP addresses found for copilot.example.org

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile for more details.
"""


@pytest.fixture(scope="module")
def moments(guest_factory: Callable[[str], Guest], tmp_path_factory: pytest.TempPathFactory) -> Moments:
    return Moments(guest_factory("letsencrypt"), tmp_path_factory.mktemp("moments"))


@pytest.fixture
def guest(moments: Moments) -> Guest:
    """As the image leaves it."""
    return moments.after(install)


@pytest.fixture
def configured(moments: Moments) -> Guest:
    """After its first configure stage: nobody was asked yet."""
    return moments.after(install, configure)


@pytest.fixture
def booted(moments: Moments) -> Guest:
    """After its first boot, in which the certificate was issued."""
    return moments.after(install, boot)


@pytest.fixture
def refused(moments: Moments) -> Guest:
    """After its first boot, in which the server refused, as it still does."""
    return moments.after(install, refuse, boot)


def install(guest: Guest) -> None:
    guest.stub("certbot", (Path(__file__).parent / "fake_certbot.sh").read_text(encoding="utf-8"))
    guest.run("install_certificate_keeper")


def configure(guest: Guest) -> None:
    guest.run(STEPS, **LETSENCRYPT)


def bootstrap(guest: Guest, **variables: str) -> None:
    guest.run(BOOTSTRAP, **LETSENCRYPT, **variables)


def boot(guest: Guest, **changes: str) -> str:
    return guest.run(BOOT, **{**LETSENCRYPT, **changes}).stdout


def keep(guest: Guest, wish: str = "", *, check: bool = True, **variables: str) -> str:
    """Run bin/certificate-keeper as its unit does: without a context."""
    environment = {
        "PATH": f"{guest.stubs}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "SLM_ROOT": str(guest.root),
        "LC_ALL": "C",
        **guest.environment,
        **variables,
    }
    command = [str(APPLIANCE / "bin/certificate-keeper"), *([wish] if wish else [])]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    said = result.stdout + result.stderr
    if check and result.returncode != 0:
        pytest.fail(f"certificate-keeper {wish} exited with {result.returncode}\n{said}")
    return said


def asked(guest: Guest) -> list[str]:
    log = guest.path("/certbot.log")
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def served(guest: Guest) -> x509.Certificate:
    certificate = x509.load_pem_x509_certificate(guest.path(CERT).read_bytes())
    key = serialization.load_pem_private_key(guest.path(KEY).read_bytes(), password=None)
    assert key.public_key() == certificate.public_key(), "key and certificate don't belong together"
    return certificate


def names(certificate: x509.Certificate) -> list[str]:
    return [
        str(name.value)
        for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ]


def origin(guest: Guest) -> str:
    return guest.path("/etc/ssl/slm-copilot/current/origin").read_text().strip()


def state(guest: Guest) -> dict[str, str]:
    return dict(line.split("=", 1) for line in guest.path(STATE).read_text().splitlines())


def status(guest: Guest) -> str:
    return guest.run("load_flavor; validate_parameters; certificate_status", **LETSENCRYPT).stdout.strip()


def refuse(guest: Guest, says: str = REFUSED) -> None:
    guest.write("/certbot-says", says)


def accept(guest: Guest) -> None:
    guest.path("/certbot-says").unlink()


def make_due(guest: Guest) -> None:
    text = guest.path(STATE).read_text()
    guest.path(STATE).write_text(re.sub(r"next_try=\d+", "next_try=1", text))


# ---- what the mode accepts -------------------------------------------------------------------------------


def test_the_domain_is_mandatory(guest: Guest) -> None:
    result = guest.configure(check=False, ONEAPP_SLM_TLS_MODE="letsencrypt")
    assert result.returncode == 1
    assert "ONEAPP_SLM_DOMAIN: TLS mode letsencrypt needs it; accepted: one fully qualified" in result.stdout


def test_an_image_without_certbot_says_so(guest: Guest) -> None:
    guest.stub("certbot", "")
    (guest.stubs / "certbot").unlink()
    result = guest.run(
        'command() { [[ "$*" != "-v certbot" ]] && builtin command "$@"; }\n'
        "validate_parameters; check_tls_mode",
        check=False,
        **LETSENCRYPT,
    )
    assert "needs certbot, which is not in this image" in result.stderr


@pytest.mark.parametrize("pem", ["-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "key"])
def test_a_ca_that_is_no_certificate_is_refused(guest: Guest, pem: str) -> None:
    if pem == "key":
        pem = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"
    value = base64.b64encode(pem.encode()).decode()
    result = guest.configure(check=False, **LETSENCRYPT, ONEAPP_SLM_ACME_CA=value)
    assert result.returncode == 1
    assert "ONEAPP_SLM_ACME_CA: the value doesn't begin with a certificate" in result.stdout
    assert value not in result.stdout


# ---- the way it goes well --------------------------------------------------------------------------------


def test_the_first_boot_serves_selfsigned_until_the_certificate_is_there(configured: Guest) -> None:
    assert origin(configured) == "selfsigned"
    assert asked(configured) == [], "nobody is asked before nginx serves"
    bootstrap(configured)
    assert origin(configured) == "letsencrypt"
    assert names(served(configured)) == [DOMAIN]
    assert configured.path(CERT).read_text().count("BEGIN CERTIFICATE") == 2, "the chain belongs to it"
    assert status(configured) == "issued"
    assert f"slm-copilot: certificate issued for {DOMAIN}" in configured.console()


def test_what_certbot_is_told(booted: Guest) -> None:
    (line,) = booted.path("/certbot.log").read_text().splitlines()
    for wanted in (
        "certonly",
        "--non-interactive",
        "--agree-tos",
        "--register-unsafely-without-email",
        f"--webroot-path {booted.root}/var/lib/slm-copilot/acme",
        "--cert-name slm-copilot",
        "--key-type ecdsa --elliptic-curve secp256r1",
        f"--server {DIRECTORY}",
        f"--domain {DOMAIN}",
    ):
        assert wanted in line
    assert "standalone" not in line


def test_modes_of_the_files(booted: Guest) -> None:
    modes = {
        name: oct(booted.path(name).stat().st_mode & 0o777)
        for name in (CERT, KEY, STATE, "/etc/slm-copilot/certificate-settings")
    }
    assert modes == {
        CERT: "0o644",
        KEY: "0o600",
        STATE: "0o600",
        "/etc/slm-copilot/certificate-settings": "0o600",
    }


def test_nginx_is_reloaded_and_not_restarted(guest: Guest) -> None:
    guest.path("/active-nginx.service").touch()
    guest.forget_systemctl()
    boot(guest)
    told = [line for line in guest.told_systemctl() if "nginx" in line]
    assert "reload nginx.service" in told
    assert not any(line.startswith(("restart", "stop")) for line in told)


def test_a_private_ca_is_trusted_and_only_root_reads_it(guest: Guest) -> None:
    ca = guest.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=ca "
        "2>/dev/null"
    ).stdout
    guest.stub(
        "certbot",
        "#!/bin/bash\n"
        'echo "$REQUESTS_CA_BUNDLE" >>"$SLM_ROOT/bundles"\n'
        + (Path(__file__).parent / "fake_certbot.sh").read_text().partition("\n")[2],
    )
    boot(guest, ONEAPP_SLM_ACME_CA=base64.b64encode(ca.encode()).decode())
    bundle = guest.path("/etc/slm-copilot/acme-ca.pem")
    assert guest.path("/bundles").read_text().split() == [str(bundle)]
    assert bundle.read_text() == ca
    assert bundle.stat().st_mode & 0o777 == 0o600
    boot(guest)
    assert not bundle.exists(), "the context gives none any more"


# ---- it asks only when it must ---------------------------------------------------------------------------


def test_a_reboot_and_a_reconfigure_ask_nobody(booted: Guest) -> None:
    before = served(booted).serial_number
    boot(booted)
    booted.path("/run/slm-copilot/pending-nginx").unlink(missing_ok=True)
    boot(booted)
    keep(booted)
    assert asked(booted) == ["certonly"]
    assert served(booted).serial_number == before
    assert not booted.path("/run/slm-copilot/pending-nginx").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"ONEAPP_SLM_DOMAIN": "other.example.org"},
        {"ONEAPP_SLM_ACME_DIRECTORY": "https://other.example.org/directory"},
    ],
)
def test_another_domain_or_directory_asks_anew(booted: Guest, change: dict[str, str]) -> None:
    before = served(booted).serial_number
    boot(booted, **change)
    assert asked(booted) == ["certonly", "certonly"]
    assert served(booted).serial_number != before
    assert len(list(booted.path("/etc/letsencrypt/archive/slm-copilot").glob("cert*.pem"))) == 1
    assert len(list(booted.path("/etc/ssl/slm-copilot").glob("pair.*"))) == 1


def test_another_domain_is_not_served_the_old_certificate_meanwhile(booted: Guest) -> None:
    refuse(booted)
    boot(booted, ONEAPP_SLM_DOMAIN="other.example.org")
    assert origin(booted) == "selfsigned"
    assert "other.example.org" in names(served(booted))
    assert not booted.path(RENEWAL).exists(), "the old domain would still be renewed"


@pytest.mark.parametrize("clock", ["+0", "-3 years"])
def test_a_lost_pair_is_taken_from_the_lineage(booted: Guest, clock: str) -> None:
    before = served(booted).serial_number
    booted.run('rm -rf "$SLM_TLS_DIR"')
    if clock != "+0":
        past = int(time.time()) - 3 * 365 * 86400
        booted.stub(
            "date", f'#!/bin/bash\n[[ "$*" != "+%s" ]] || {{ echo {past}; exit; }}\nexec /bin/date "$@"\n'
        )
    boot(booted)
    assert served(booted).serial_number == before
    assert asked(booted) == ["certonly"]


# ---- renewal ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days_gone", "renewed"), [(59, False), (61, True)])
def test_renewed_in_the_last_third_of_its_life(booted: Guest, days_gone: int, renewed: bool) -> None:
    before = served(booted).serial_number
    later = int(time.time()) + days_gone * 86400
    booted.stub(
        "date", f'#!/bin/bash\n[[ "$*" != "+%s" ]] || {{ echo {later}; exit; }}\nexec /bin/date "$@"\n'
    )
    keep(booted)
    assert (served(booted).serial_number != before) is renewed
    assert asked(booted) == ["certonly", *(["renew"] if renewed else [])]
    keep(booted)
    assert len(asked(booted)) == (3 if renewed else 1), "by a clock that is ahead the new one is old too"


def test_the_hook_alone_serves_what_certbot_renewed(booted: Guest) -> None:
    """As when an administrator runs `certbot renew`."""
    before = served(booted).serial_number
    booted.path("/active-nginx.service").touch()
    booted.forget_systemctl()
    renew = f'certbot renew --config-dir "{booted.root}/etc/letsencrypt"'
    booted.run(renew)
    assert served(booted).serial_number != before
    assert "reload nginx.service" in booted.told_systemctl()


def test_a_missing_hook_is_noticed_and_what_it_left_is_mended(booted: Guest) -> None:
    before = served(booted).serial_number
    booted.path("/etc/letsencrypt/renewal-hooks/deploy/slm-copilot").unlink()
    said = keep(booted, "renew")
    assert "was not taken over by" in said
    assert served(booted).serial_number == before
    keep(booted)
    assert served(booted).serial_number != before


def test_a_failed_renewal_keeps_the_certificate_and_is_told(booted: Guest) -> None:
    before = served(booted).serial_number
    refuse(booted)
    keep(booted, "renew")
    assert served(booted).serial_number == before
    assert status(booted).startswith("issued; a new one could not be had: dns: No valid IP addresses")
    assert "could not be had" in booted.path(NOTICE).read_text()
    accept(booted)
    keep(booted, "renew")
    assert status(booted) == "issued"
    assert not booted.path(NOTICE).exists()


def test_the_report_follows(booted: Guest) -> None:
    booted.write(
        "/etc/one-appliance/config",
        "[connection]\nendpoint=https://10.0.2.15/v1\npassword=secret\n\n[certificate]\nmode=old\nfingerprint_sha256=old\n\n[engine]\nname=x\n",
    )
    keep(booted, "renew")
    report = configparser.ConfigParser(interpolation=None)
    report.read(booted.path("/etc/one-appliance/config"))
    assert report.sections() == ["connection", "certificate", "engine"]
    assert dict(report["connection"]) == {"endpoint": f"https://{DOMAIN}/v1", "password": "secret"}
    assert report["certificate"]["status"] == "issued"
    assert int(report["certificate"]["fingerprint_sha256"].replace(":", ""), 16)
    assert booted.path("/etc/one-appliance/config").stat().st_mode & 0o777 == 0o600


# ---- failure ---------------------------------------------------------------------------------------------


def test_a_refusal_leaves_the_selfsigned_pair_serving_and_says_why(refused: Guest) -> None:
    assert origin(refused) == "selfsigned"
    assert set(names(served(refused))) >= {DOMAIN, "10.0.2.15"}
    wanted = "fallback: dns: No valid IP addresses found for copilot.example.org; next try "
    assert status(refused).startswith(wanted)
    assert any(line.startswith(f"slm-copilot: certificate {wanted}") for line in refused.console())
    assert "self-signed, fallback: dns: No valid IP" in refused.path(NOTICE).read_text()
    assert refused.path(NOTICE).stat().st_mode & 0o777 == 0o644


def test_the_next_try_waits_longer_each_time_also_over_reboots(refused: Guest) -> None:
    delays = []
    for tries in range(1, 4):
        assert len(asked(refused)) == tries
        boot(refused)
        keep(refused)
        assert len(asked(refused)) == tries, "a reboot within the pause asked again"
        delays.append(int(state(refused)["next_try"]) - int(refused.path(STATE).stat().st_mtime))
        make_due(refused)
        keep(refused)
    for number, delay in enumerate(delays):
        least = 600 * 2**number
        assert least - 1 <= delay <= least * 1.25 + 1, f"after failure {number + 1}: {delays}"


def test_pauses_double_up_to_twelve_hours_and_a_quarter_is_left_to_chance(guest: Guest) -> None:
    script = "for n in 1 2 3 6 7 8 40 999999; do acme_delay $n; acme_delay $n; done"
    said = [int(line) for line in guest.run(script).stdout.split()]
    least = [base for n in (0, 1, 2, 5, 6, 7, 39, 99) for base in [min(600 * 2**n, 43200)] * 2]
    assert all(low <= pause < low * 1.25 for low, pause in zip(least, said, strict=True)), said
    assert len(set(said)) > len(said) // 2, f"no chance in it: {said}"


def test_the_pause_ends_with_another_request_with_now_and_with_a_clock_set_back(refused: Guest) -> None:
    boot(refused, ONEAPP_SLM_DOMAIN="other.example.org")
    assert len(asked(refused)) == 2, "another domain is another request"
    keep(refused, "now")
    assert len(asked(refused)) == 3
    assert state(refused)["failures"] == "2"
    refused.stub(
        "date", '#!/bin/bash\n[[ "$*" != "+%s" ]] || { echo 1000000000; exit; }\nexec /bin/date "$@"\n'
    )
    keep(refused)
    assert len(asked(refused)) == 4


def test_when_the_server_is_back_the_keeper_gets_the_certificate(refused: Guest) -> None:
    accept(refused)
    make_due(refused)
    keep(refused)
    assert origin(refused) == "letsencrypt"
    assert status(refused) == "issued"
    assert not refused.path(NOTICE).exists()
    assert refused.console()[-1] == f"slm-copilot: certificate issued for {DOMAIN}"


SAYS = ["certbot says it", "only certbot's log says it"]
"""How certbot tells an ACME server's error; 2.1 under Python 3.11 says "can't set attribute" for each."""


def fake_that_fails_when(guest: Guest, says: str, condition: str, error: str) -> None:
    """certbot that the server refuses with `error` while the bash `condition` holds."""
    fake = (Path(__file__).parent / "fake_certbot.sh").read_text()
    words = f"acme.messages.Error: urn:ietf:params:acme:error:{error}"
    masked = "AttributeError: can't set attribute"
    log = '"$SLM_ROOT/var/log/letsencrypt/letsencrypt.log"'
    guest.stub(
        "certbot",
        f"#!/bin/bash\nif {condition}; then\n"
        f'mkdir -p "$SLM_ROOT/var/log/letsencrypt"; echo "{words}" >{log}\n'
        f"echo 'An unexpected error occurred:'; echo \"{words if says == SAYS[0] else masked}\"; exit 1; fi\n"
        + fake.partition("\n")[2],
    )


@pytest.mark.parametrize("says", SAYS)
def test_a_nonce_that_is_refused_is_no_failure(configured: Guest, says: str) -> None:
    first = '[[ ! -e $SLM_ROOT/once ]] && touch "$SLM_ROOT/once"'
    fake_that_fails_when(configured, says, first, "badNonce :: invalid nonce")
    bootstrap(configured)
    assert origin(configured) == "letsencrypt"


@pytest.mark.parametrize("says", SAYS)
def test_an_account_that_the_server_forgot_is_made_anew(booted: Guest, says: str) -> None:
    there = "[[ -d $SLM_ROOT/etc/letsencrypt/accounts/ca.example.org/acme/directory/0123abcd ]]"
    fake_that_fails_when(booted, says, there, "accountDoesNotExist :: gone")
    before = served(booted).serial_number
    keep(booted, "renew")
    assert status(booted) == "issued"
    assert served(booted).serial_number != before


@pytest.mark.parametrize("says", SAYS)
def test_the_servers_own_words_are_told(configured: Guest, says: str) -> None:
    fake_that_fails_when(configured, says, "true", "rateLimited :: too many certificates")
    bootstrap(configured)
    told = "urn:ietf:params:acme:error:rateLimited :: too many certificates"
    assert told in status(configured), status(configured)


def test_a_server_that_never_answers_does_not_hold_the_boot(guest: Guest) -> None:
    guest.stub("certbot", "#!/bin/bash\nexec sleep 300\n")
    said = guest.run(
        f"{STEPS}; SLM_ACME_TRY_SECONDS=1\n"
        "ask_for_certificate a.example https://b.example/ || printf '%s' \"$CERTBOT_REASON\"",
        timeout=20,
        **LETSENCRYPT,
    ).stdout
    assert said.endswith("no certificate came within 1 s")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (REFUSED, "dns: No valid IP addresses found for copilot.example.org"),
        (
            "Saving debug log to x\nAn unexpected error occurred:\n"
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='10.0.2.2', port=14000): "
            "Max retries exceeded with url: /dir (Caused by NewConnectionError("
            "'<urllib3.connection.HTTPSConnection object at 0x7f0>: "
            "Failed to establish a new connection: [Errno 111] Connection refused'))\n"
            "Ask for help or search for solutions at https://community.letsencrypt.org.\n",
            "the ACME server 10.0.2.2:14000 can't be reached: [Errno 111] Connection refused",
        ),
        (
            "An unexpected error occurred:\nError creating new order :: too many certificates\n",
            "Error creating new order :: too many certificates",
        ),
        (
            "An unexpected error occurred:\nValueError: Requesting 10.0.2.2/dir: Connection refused\n",
            "the ACME server can't be reached: 10.0.2.2/dir: Connection refused",
        ),
        ("Saving debug log to x\nsomething short\nAsk for help or\n", "something short"),
    ],
)
def test_the_reason_is_the_servers_own_in_one_line(configured: Guest, says: str, reason: str) -> None:
    refuse(configured, says)
    bootstrap(configured)
    assert state(configured)["reason"] == reason


# ---- whatever a power cut leaves -------------------------------------------------------------------------


@pytest.mark.parametrize("dies_after", [1, 4, 6, 8, 9, 11, 12])
def test_certbot_dying_anywhere_is_mended(configured: Guest, dies_after: int) -> None:
    bootstrap(configured, CERTBOT_DIES_AFTER=str(dies_after))
    served(configured)
    make_due(configured)
    keep(configured)
    assert origin(configured) == "letsencrypt", state(configured)
    assert status(configured) == "issued"


def test_certbot_dying_anywhere_in_a_renewal_is_mended(booted: Guest) -> None:
    for dies_after in (1, 4, 6, 8, 9):
        before = served(booted).serial_number
        keep(booted, "renew", CERTBOT_DIES_AFTER=str(dies_after))
        certificate = served(booted)
        make_due(booted)
        keep(booted)
        assert origin(booted) == "letsencrypt", f"died after {dies_after}: {state(booted)}"
        assert status(booted) == "issued"
        if dies_after < 4:
            assert certificate.serial_number == before, "the good one must serve meanwhile"


@pytest.mark.parametrize(
    "damage",
    [
        f"{LIVE}/fullchain.pem",
        f"{LIVE}/privkey.pem",
        RENEWAL,
        "/etc/letsencrypt/accounts/ca.example.org/acme/directory/0123abcd/private_key.json",
        "/etc/letsencrypt/accounts/ca.example.org/acme/directory/0123abcd/regr.json",
    ],
)
def test_an_empty_file_is_no_permanent_failure(booted: Guest, damage: str) -> None:
    before = served(booted).serial_number
    booted.path(damage).resolve().write_bytes(b"")
    keep(booted, "renew")
    assert status(booted) == "issued"
    assert served(booted).serial_number != before
    account = booted.path("/etc/letsencrypt/accounts/ca.example.org/acme/directory/0123abcd/private_key.json")
    assert account.read_text() == "{}\n"


@pytest.mark.parametrize(
    "damage",
    [
        "true",
        ": >chain.pem",
        "rm cert.pem",
        "other=../../archive/slm-copilot/cert2.pem; cp cert.pem $other; ln -sfn $other cert.pem",
        "cat chain.pem >cert.pem",
    ],
    ids=[
        "none",
        "an empty file",
        "a missing link",
        "a link of the next renewal",
        "another certificate's chain",
    ],
)
def test_a_lineage_written_by_halves_is_not_used(booted: Guest, damage: str) -> None:
    found = booted.run(
        f'(cd "$SLM_ROOT{LIVE}"; {damage})\n'
        f"find_lineage_problem {DOMAIN} {DIRECTORY}\n"
        "printf '%s' \"$LINEAGE_PROBLEM\""
    ).stdout
    assert found == ("" if damage == "true" else "a write to it was interrupted")


# ---- the other modes -------------------------------------------------------------------------------------


def test_leaving_the_mode_leaves_nothing_that_could_renew(booted: Guest) -> None:
    booted.run(BOOT, ONEAPP_SLM_DOMAIN=DOMAIN)
    assert origin(booted) == "selfsigned"
    for gone in (RENEWAL, LIVE, "/etc/letsencrypt/archive/slm-copilot", STATE):
        assert not booted.path(gone).exists(), gone
    said = keep(booted, "deploy")
    assert "doesn't serve what certbot renews" in said
    assert "asks nobody" in keep(booted, "now", check=False)
    assert asked(booted) == ["certonly"]


def test_coming_back_needs_no_second_account(booted: Guest) -> None:
    account = booted.path("/etc/letsencrypt/accounts/ca.example.org/acme/directory/0123abcd/private_key.json")
    before = account.stat().st_mtime_ns
    booted.run(BOOT)
    boot(booted)
    assert account.stat().st_mtime_ns == before


def test_selfsigned_is_renewed_without_a_configure_stage(guest: Guest) -> None:
    guest.run(f"SLM_SELFSIGNED_DAYS=29; {BOOT}")
    before = served(guest).serial_number
    guest.path("/active-nginx.service").touch()
    guest.forget_systemctl()
    keep(guest)
    assert served(guest).serial_number != before
    assert "reload nginx.service" in guest.told_systemctl()
    keep(guest)
    assert guest.told_systemctl().count("reload nginx.service") == 1


def test_before_the_first_configure_the_keeper_does_nothing(guest: Guest) -> None:
    assert "no configure stage has succeeded" in keep(guest)
    assert not guest.path(CERT).exists()


def test_the_keeper_leaves_a_configure_stage_alone(booted: Guest) -> None:
    lock = booted.path("/run/slm-copilot/certificate.lock")
    with lock.open("w") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        assert "somebody else is at work" in keep(booted)


def test_the_timer_is_enabled_and_started(configured: Guest) -> None:
    configured.run("install_certificate_keeper")
    assert any("enable" in line and "slm-certificate.timer" in line for line in configured.told_systemctl())
    bootstrap(configured)
    assert "start slm-certificate.timer" in configured.told_systemctl()


def test_an_unknown_wish_is_a_usage_error(guest: Guest) -> None:
    assert "usage: certificate-keeper" in keep(guest, "everything", check=False)
