"""A certificate that can't be had, is lost or is revoked: the appliance serves, says why, asks again in time.

The checks are one story and run in this order; each leaves the guest as the next one's first line expects it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.cell.tls_setting import DOMAIN
from harness.client.https import ApplianceAddress
from harness.machine.protocol import Machine
from harness.peers.pebble import Pebble, open_pebble
from suites.acme.acme_guest import (
    CERTBOT,
    TRY_S,
    certificate_report,
    keeper_state,
    own_certificate,
    run_keeper,
    served,
)
from suites.conformance.guest_facts import output
from suites.lifecycle.living_guest import LivingGuest, change_context, wait_ready

OTHER = "other.slm.test"
KEEPER = "/opt/slm-copilot/appliance/bin/certificate-keeper"
NOTICE = "cat /etc/motd.d/slm-copilot-certificate 2>/dev/null || true"


@contextmanager
def unresolvable(pebble: Pebble) -> Iterator[None]:
    """Meanwhile no domain leads to the guest, so that nothing can be validated."""
    pebble.resolve(to_guest=False)
    try:
        yield
    finally:
        pebble.resolve(to_guest=True)


def test_a_reboot_asks_nobody(living: LivingGuest, appliance: ApplianceAddress, pebble: Pebble) -> None:
    before, orders = served(appliance, DOMAIN).serial, pebble.orders()
    living.machine.reboot(60 * living.stretch)
    wait_ready(living)
    assert pebble.orders() == orders, "the ACME server was asked although the certificate is good"
    assert served(appliance, DOMAIN).serial == before


def test_a_domain_that_leads_elsewhere_is_served_selfsigned_with_the_servers_reason(
    living: LivingGuest,
    appliance: ApplianceAddress,
    pebble: Pebble,
    cell_context: Mapping[str, str],
    tmp_path: Path,
) -> None:
    with unresolvable(pebble):
        change_context(living, {**cell_context, "ONEAPP_SLM_DOMAIN": OTHER})
    status = certificate_report(living.machine)["status"]
    assert status.startswith("fallback: connection: "), status
    assert "could not resolve" in status
    assert OTHER in status
    assert "; next try 20" in status
    assert f"slm-copilot: certificate {status[:60]}" in living.machine.console_text()
    assert status in output(living.machine, NOTICE)
    certificate = served(appliance, OTHER, own_certificate(living.machine, tmp_path))
    assert certificate.subject == certificate.issuer, "not self-signed"


def test_within_the_pause_neither_keeper_nor_reboot_asks(living: LivingGuest, pebble: Pebble) -> None:
    orders = pebble.orders()
    run_keeper(living.machine, living.stretch)
    living.machine.reboot(60 * living.stretch)
    wait_ready(living)
    assert pebble.orders() == orders
    assert keeper_state(living.machine)["failures"] == "1"


def test_each_failure_makes_the_pause_longer(living: LivingGuest, pebble: Pebble) -> None:
    with unresolvable(pebble):
        pauses = [_pause(living.machine)]
        for _ in range(2):
            run_keeper(living.machine, living.stretch, due=True)
            pauses.append(_pause(living.machine))
    assert keeper_state(living.machine)["failures"] == "3"
    assert 1200 <= pauses[1] <= 1500, f"seconds: {pauses}"
    assert 2400 <= pauses[2] <= 3000, f"seconds: {pauses}"


def test_when_the_domain_leads_here_the_keeper_gets_the_certificate(
    living: LivingGuest, appliance: ApplianceAddress, pebble: Pebble
) -> None:
    run_keeper(living.machine, living.stretch, due=True)
    assert certificate_report(living.machine)["status"] == "issued"
    certificate = served(appliance, OTHER)
    assert pebble.status_of(certificate.serial) == "Valid"
    assert output(living.machine, NOTICE) == ""


def test_another_domain_asks_anew(
    living: LivingGuest, appliance: ApplianceAddress, pebble: Pebble, cell_context: Mapping[str, str]
) -> None:
    orders = pebble.orders()
    change_context(living, cell_context)
    assert pebble.orders() == orders + 1
    assert served(appliance, DOMAIN).names == (DOMAIN,)
    left = output(living.machine, "ls /etc/letsencrypt/renewal /etc/letsencrypt/archive/slm-copilot")
    assert left.count("fullchain") == 1, f"the old domain's certificate is still there: {left}"


def test_a_server_that_is_down_is_named(living: LivingGuest, cell_context: Mapping[str, str]) -> None:
    down = {"ONEAPP_SLM_ACME_DIRECTORY": f"https://{living.machine.host_address}:9/dir"}
    change_context(living, {**cell_context, **down})
    status = certificate_report(living.machine)["status"]
    change_context(living, cell_context)
    assert (
        f"the ACME server can't be reached: {living.machine.host_address}/dir: Connection refused" in status
    )
    assert certificate_report(living.machine)["status"] == "issued"


def test_a_server_that_takes_no_nonce_is_asked_again_and_then_quoted(
    living: LivingGuest, cell_context: Mapping[str, str], tmp_path: Path
) -> None:
    with open_pebble(living.machine, tmp_path / "strict", refused_nonces=100) as strict:
        change_context(living, {**cell_context, **strict.context(DOMAIN)})
        asked = strict.log().count("POST /sign-me-up")
    status = certificate_report(living.machine)["status"]
    change_context(living, cell_context)
    assert "invalid anti-replay nonce" in status, status
    assert asked >= 4, f"certbot itself asks twice; the server was asked {asked} times"
    assert certificate_report(living.machine)["status"] == "issued"


def test_a_revoked_certificate_is_replaced_with_a_new_key(
    living: LivingGuest, appliance: ApplianceAddress, pebble: Pebble
) -> None:
    """certbot takes a revoked lineage away, by which the keeper notices."""
    before = served(appliance, DOMAIN)
    key = output(living.machine, "sha256sum </etc/ssl/slm-copilot/key.pem")
    revoke = f"{CERTBOT} revoke --cert-name slm-copilot --reason keycompromise"
    output(living.machine, revoke, timeout=TRY_S * living.stretch)
    assert pebble.status_of(before.serial) == "Revoked"
    run_keeper(living.machine, living.stretch)
    after = served(appliance, DOMAIN)
    assert after.serial != before.serial
    assert pebble.status_of(after.serial) == "Valid"
    assert output(living.machine, "sha256sum </etc/ssl/slm-copilot/key.pem") != key


def test_certbot_cut_off_in_the_middle_is_mended(living: LivingGuest, appliance: ApplianceAddress) -> None:
    """Killed while it renews, then the power is cut. Whichever certificate that leaves is served, and the
    next renewal works."""
    before = served(appliance, DOMAIN).serial
    output(
        living.machine,
        f"{CERTBOT} renew --force-renewal --no-random-sleep-on-renew >/dev/null 2>&1 & certbot=$!\n"
        "archive=/etc/letsencrypt/archive/slm-copilot before=$(ls $archive | wc -l)\n"
        f"end=$((SECONDS + {int(TRY_S * living.stretch)}))\n"
        "while [ $SECONDS -lt $end ] && [ $(ls $archive | wc -l) = $before ]; do :; done\n"
        "kill -KILL $certbot",
        timeout=TRY_S * living.stretch + 10,
    )
    living.machine.power_cut()
    living.machine.start()
    wait_ready(living)
    run_keeper(living.machine, living.stretch)
    assert certificate_report(living.machine)["status"] == "issued"
    left = served(appliance, DOMAIN).serial
    output(living.machine, f"{KEEPER} renew", timeout=2 * TRY_S * living.stretch)
    assert served(appliance, DOMAIN).serial not in (before, left), "it can't be renewed any more"


def test_leaving_the_mode_leaves_nothing_to_renew(
    living: LivingGuest, pebble: Pebble, cell_context: Mapping[str, str]
) -> None:
    orders = pebble.orders()
    change_context(living, {**cell_context, "ONEAPP_SLM_TLS_MODE": "selfsigned"})
    run_keeper(living.machine, living.stretch)
    renewed = living.machine.run(f"{CERTBOT} renew --force-renewal --no-random-sleep-on-renew", timeout=TRY_S)
    assert "No renewals were attempted" in renewed.stdout + renewed.stderr
    assert pebble.orders() == orders
    assert certificate_report(living.machine)["status"] == "selfsigned"


def _pause(machine: Machine) -> int:
    """Seconds from the last failure to the next try."""
    written = int(output(machine, "stat --format=%Y /etc/slm-copilot/certificate-state"))
    return int(keeper_state(machine)["next_try"]) - written
