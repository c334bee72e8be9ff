"""The appliance's own stages under service.sh's rules: signals, skipped stages, what a power cut leaves."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from relocated import APPLIANCE_FOLDER, Service, install_service

# The real machinery of stages with one step, and with a console and a MOTD that are files.
APPLIANCE = f"""\
. {APPLIANCE_FOLDER}/lib/service_state.sh
. {APPLIANCE_FOLDER}/lib/failure.sh
. {APPLIANCE_FOLDER}/lib/stage.sh
SLM_FAILURE_FILE=$ONE_SERVICE_DIR/failure
mend_service_state
ONE_SERVICE_RECONFIGURABLE=true
announce_ready() {{ echo ready >>"$CALLS"; }}
announce_failure() {{ echo "failed $1: $2" >>"$CALLS"; }}
step() {{ eval "${{BODY:-}}"; }}
service_install() {{ run_stage install step; }}
service_configure() {{ run_stage configure step; }}
service_bootstrap() {{ run_stage bootstrap step; }}
service_cleanup() {{ report_stage_outcome; wait_for_stage_log; }}
"""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return install_service(tmp_path, APPLIANCE)


def told(service: Service) -> str:
    path = service.root / "calls"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_ready_is_told_after_the_status_says_so(service: Service) -> None:
    service.set_status("configure_success")
    body = 'announce_ready() { echo "ready $(<"$ONE_SERVICE_STATUS")" >>"$CALLS"; }'
    assert service.run("bootstrap", body=body).returncode == 0
    assert told(service) == "ready bootstrap_success\n"


@pytest.mark.parametrize(
    ("stage", "status", "code"),
    [("install", "install_success", 0), ("configure", "", 1), ("bootstrap", "configure_started", 1)],
)
def test_nothing_is_told_of_a_stage_that_did_not_run(
    service: Service, stage: str, status: str, code: int
) -> None:
    service.set_status(status)
    assert (service.run(stage).returncode, told(service)) == (code, "")


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130), ("QUIT", 131)])
def test_a_signal_ends_the_stage_as_a_failure(service: Service, name: str, code: int) -> None:
    service.set_status("configure_success")
    result = service.run("bootstrap", body=f"kill -{name} $$; sleep 0.1")
    assert (result.returncode, service.status) == (code, "bootstrap_failure\n")
    assert told(service) == f"failed bootstrap: interrupted by signal {name} in step step\n"


def test_a_signal_that_comes_before_the_first_step_ends_the_stage_as_a_failure(service: Service) -> None:
    """service.sh's own trap has it then, cleans up, and goes on."""
    for name in ("mkfifo", "mknod"):  # what the one or the other makes its pipe with
        early = service.root / "bin" / name
        early.write_text(f'#!/bin/sh\n/usr/bin/{name} "$@"\nkill -TERM $PPID\n', encoding="utf-8")
        early.chmod(0o755)
    service.set_status("configure_success")
    result = service.run("bootstrap", body='echo "the step ran" >>"$CALLS"')
    assert (result.returncode, service.status) == (143, "bootstrap_failure\n")
    assert told(service) == "failed bootstrap: interrupted by a signal before the first step\n"
    assert not service.pipe.exists()


def test_the_next_stage_finds_the_lock_free_however_slow_the_log_is(service: Service) -> None:
    slow = service.root / "bin/tee"
    slow.write_text('#!/bin/sh\n/usr/bin/tee "$@"\nsleep 0.4\n', encoding="utf-8")
    slow.chmod(0o755)
    service.set_status("install_success")
    # As net-90 calls them: nobody reads the output to its end in between.
    both = f"{service.home}/service configure && {service.home}/service bootstrap"
    result = subprocess.run(
        ["bash", "-c", both],
        env={"PATH": f"{service.root}/bin:{os.environ['PATH']}", "CALLS": f"{service.root}/calls"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    assert (result.returncode, service.status) == (0, "bootstrap_success\n")


@pytest.mark.timing
def test_a_failed_stage_does_not_wait_for_its_log(service: Service) -> None:
    service.set_status("install_success")
    started = time.monotonic()
    assert service.run("configure", body="false").returncode == 1
    assert time.monotonic() - started < 1.5


def test_a_pipe_left_by_a_power_cut_is_removed_before_it_can_fail_a_stage(service: Service) -> None:
    service.set_status("configure_success")
    service.pipe.parent.mkdir(parents=True)
    os.mkfifo(service.pipe)
    assert service.run("configure").returncode == 0
    assert service.status == "configure_success\n"


# Named, because test processes that run side by side must agree on the names.
@pytest.mark.parametrize(
    "number",
    ["1", str(os.getpid()), "999999", "", "rubbish"],
    ids=["init", "this process", "nobody", "nothing", "rubbish"],
)
def test_a_pid_file_that_names_no_service_run_keeps_nobody_out(service: Service, number: str) -> None:
    """The number may belong to another process by now."""
    service.set_status("install_success")
    service.pid_file.write_text(f"{number}\n", encoding="utf-8")
    assert service.run("configure").returncode == 0
    assert service.status == "configure_success\n"


def test_a_run_at_the_same_time_is_left_alone(service: Service) -> None:
    service.set_status("install_success")
    body = '"$ONE_SERVICE_DIR/service" configure; echo "$?" >>"$CALLS"; ls "$ONE_SERVICE_LOGDIR" >>"$CALLS"'
    assert service.run("configure", body=body).returncode == 0
    assert told(service) == "0\nconfigure.log\none_service_log.pipe\n"
    assert service.status == "configure_success\n"


@pytest.mark.parametrize(
    ("metadata", "code", "after"),
    [("name: SLM-Copilot\n", 0, "configure_success\n"), ("", 1, "")],
    ids=["installed", "not-installed"],
)
def test_a_status_that_a_power_cut_emptied(service: Service, metadata: str, code: int, after: str) -> None:
    (service.home / "status").write_text("", encoding="utf-8")
    (service.home / "metadata").write_text(metadata, encoding="utf-8")
    assert (service.run("configure").returncode, service.status) == (code, after)


def test_an_empty_status_is_left_to_install(service: Service) -> None:
    (service.home / "status").write_text("", encoding="utf-8")
    assert service.run("install").returncode == 0
    assert service.status == "install_success\n"
