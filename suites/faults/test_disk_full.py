"""A full disk: answers go on, a new configuration is refused in one line, and space heals it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from harness.machine.protocol import CommandResult, Machine
from suites.conformance.ask import CHAT, chat, expect_json
from suites.conformance.guest_facts import output

SITE = "/etc/nginx/sites-enabled/slm-copilot.conf"

CONFIGURE = """
export ONEAPP_SLM_CORS_ORIGINS=https://full.example.org
umask 0077
set -e
. /opt/slm-copilot/appliance/appliance.sh
service_configure 2>&1
"""
"""The configure stage with something changed, as one-apps calls it; the running nginx isn't told."""

FILL_THE_DISK = """
n=0
for size in 512M 64M 8M 1M 64K 4K; do
  while fallocate -l $size /var/tmp/full.$n 2>/dev/null; do n=$((n + 1)); done
  rm -f /var/tmp/full.$n
done
"""

SMALL_DISK = """
cp -a /etc/nginx /run/nginx.copy && mount -t tmpfs -o size=1m,mode=755 tmpfs /etc/nginx
cp -a /run/nginx.copy/. /etc/nginx && rm -rf /run/nginx.copy
dd if=/dev/zero of=/etc/nginx/full bs=4k 2>/dev/null || true
"""


@contextmanager
def full(machine: Machine, fill: str, empty: str) -> Iterator[None]:
    output(machine, fill, timeout=120)
    try:
        yield
    finally:
        output(machine, empty, timeout=60)


def configure(machine: Machine) -> CommandResult:
    return machine.run(CONFIGURE, timeout=120)


def assert_refused_in_one_line(machine: Machine) -> None:
    before = output(machine, f"sha256sum {SITE}")
    result = configure(machine)
    assert result.exit_status != 0, "configure claims to have written on a full disk"
    errors = [line for line in result.stdout.splitlines() if "ERROR" in line]
    assert errors, f"no line says what is wrong: {result.stdout[-600:]}"
    assert "the disk is full" in errors[0]
    assert output(machine, f"sha256sum {SITE}") == before
    left = output(machine, "find /etc/nginx -name '.*' -newer /proc/1/cmdline ! -name '.' ! -name '..'")
    assert left.strip() == "", "a half-written file was left"


def test_a_configuration_that_finds_no_room_is_refused(machine: Machine, client: httpx.Client) -> None:
    """Nginx's folder alone is full: cheap to arrange on every machine."""
    with full(machine, SMALL_DISK, "umount /etc/nginx"):
        assert_refused_in_one_line(machine)
        expect_json(client.post(CHAT, json=chat(max_tokens=1)))
    result = configure(machine)
    assert result.exit_status == 0, f"it does not heal: {result.stdout[-600:]}"
    put_back(machine)


@pytest.mark.vm
def test_a_full_root_disk_stops_no_answer_and_heals(machine: Machine, client: httpx.Client) -> None:
    with full(machine, FILL_THE_DISK, "rm -f /var/tmp/full.*"):
        assert_refused_in_one_line(machine)
        expect_json(client.post(CHAT, json=chat(max_tokens=1)))
        output(machine, "logger 'the disk is full' && journalctl --sync", timeout=60)
        expect_json(client.get("/v1/models"))
    result = configure(machine)
    assert result.exit_status == 0, f"it does not heal: {result.stdout[-600:]}"
    put_back(machine)


def put_back(machine: Machine) -> None:
    """The cell's own configuration again."""
    output(machine, CONFIGURE.replace("https://full.example.org", ""), timeout=120)
    output(machine, "systemctl reload nginx.service && rm -f /run/slm-copilot/pending-nginx")
