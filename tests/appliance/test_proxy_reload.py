"""A reload is over when no old worker takes new clients any more, not when nginx has been told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from bash_guest import Guest, build_guest

WORKER = "nginx: worker process\0"
RETIRED = "nginx: worker process is shutting down\0"


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    found = build_guest(tmp_path)
    found.stub("systemctl", "#!/bin/sh\n[ $1 != show ] || echo 70\n")
    found.write("/proc/70/task/70/children", "71 72 ")
    found.write("/proc/71/cmdline", WORKER)
    found.write("/proc/72/cmdline", WORKER)
    return found


def test_it_waits_until_every_old_worker_is_gone_or_retired(guest: Guest) -> None:
    started = time.monotonic()
    guest.run(
        "(sleep 0.4; rm $SLM_PROC/71/cmdline; sleep 0.4;"
        " printf 'nginx: worker process is shutting down\\0' >$SLM_PROC/72/cmdline) & reload_proxy"
    )
    assert time.monotonic() - started >= 0.8


def test_a_worker_that_finishes_a_stream_is_not_waited_for(guest: Guest) -> None:
    guest.write("/proc/71/cmdline", RETIRED)
    guest.write("/proc/72/cmdline", "")  # a zombie
    assert "WARNING" not in guest.run("reload_proxy", SLM_TAKEOVER_S="1").stderr


def test_a_worker_that_never_retires_is_told_and_ends_the_wait(guest: Guest) -> None:
    found = guest.run("reload_proxy && echo done", SLM_TAKEOVER_S="1")
    assert "an old nginx worker still takes new clients after 1 s" in found.stdout + found.stderr
    assert "done" in found.stdout


def test_a_reload_that_is_refused_is_not_waited_for(guest: Guest) -> None:
    guest.stub("systemctl", "#!/bin/sh\n[ $1 = show ] && echo 70\n")
    started = time.monotonic()
    assert guest.run("reload_proxy", check=False).returncode != 0
    assert time.monotonic() - started < 5
