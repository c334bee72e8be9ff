"""The stand-in for one-apps' service.sh: which stage may follow which status, and what a stage leaves."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest
from relocated import Service, in_own_words, install_service

STAGES = ("install", "configure", "bootstrap")

# Does what the test says in $BODY, and remembers in $CALLS what was called.
APPLIANCE = """\
ONE_SERVICE_NAME='Test appliance'
ONE_SERVICE_RECONFIGURABLE=${RECONFIGURABLE-$ONE_SERVICE_RECONFIGURABLE}
ONE_SERVICE_VERSION=1.0
ONE_SERVICE_PARAMS=(ONEAPP_COLOUR configure 'Colour of the shed' 'O|text')
_called() {
  echo "$1" >>"$CALLS"
  eval "${BODY:-}"
}
service_install() { _called install; }
service_configure() { _called configure; }
service_bootstrap() { _called bootstrap; }
service_cleanup() { echo cleanup >>"$CALLS"; }
"""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return install_service(tmp_path, APPLIANCE)


# Of each stage: the statuses it runs from whatever the appliance is, those it is skipped from (rc 0) and
# those it is refused from (rc 1). "again" are the ones a reconfigurable appliance runs from as well.
RUNS = {
    "install": [
        "",
    ],
    "configure": ["install_success"],
    "bootstrap": ["configure_success"],
}
SKIPPED = {
    "install": ["install_success"],
    "configure": ["configure_success"],
    "bootstrap": ["bootstrap_success"],
}
AGAIN = {
    "install": [],
    "configure": [f"{stage}_{end}" for stage in STAGES[1:] for end in ("started", "success", "failure")],
    "bootstrap": ["bootstrap_started", "bootstrap_success", "bootstrap_failure"],
}
EVERY_STATUS = [
    "",
    "nonsense",
    *(f"{stage}_{end}" for stage in STAGES for end in ("started", "success", "failure")),
]
EVERY_CALL = [(stage, status) for stage in STAGES for status in EVERY_STATUS]


def expected(stage: str, status: str, *, reconfigurable: bool) -> tuple[int, list[str]]:
    """Exit status, and what is called: the cleanup also after a skip or a refusal."""
    if status in RUNS[stage] or (reconfigurable and status in AGAIN[stage]):
        return 0, [stage, "cleanup"]
    return (0 if status in SKIPPED[stage] else 1), ["cleanup"]


@pytest.mark.parametrize(("stage", "status"), EVERY_CALL)
def test_an_appliance_that_is_not_reconfigurable(service: Service, stage: str, status: str) -> None:
    service.set_status(status)
    result = service.run(stage)
    code, called = expected(stage, status, reconfigurable=False)
    assert (result.returncode, service.calls) == (code, called)


@pytest.mark.parametrize(("stage", "status"), EVERY_CALL)
def test_a_reconfigurable_appliance(service: Service, stage: str, status: str) -> None:
    service.set_status(status)
    result = service.run(stage, RECONFIGURABLE="true")
    code, called = expected(stage, status, reconfigurable=True)
    assert (result.returncode, service.calls) == (code, called)


@pytest.mark.parametrize(
    ("stage", "status", "after"),
    [
        ("install", "install_success", "install_success\n"),
        ("install", "install_failure", "install_failure\n"),
        ("configure", "", None),
        ("configure", "install_failure", "install_failure\n"),
        ("configure", "configure_success", "configure_success\n"),
        ("configure", "configure_started", "configure_failure\n"),
        ("configure", "bootstrap_success", "bootstrap_success\n"),
        ("install", "install_started", "install_failure\n"),
        ("install", "bootstrap_started", "bootstrap_failure\n"),
        ("configure", "bootstrap_started", "bootstrap_failure\n"),
        ("bootstrap", "configure_started", "configure_failure\n"),
        ("bootstrap", "bootstrap_started", "bootstrap_failure\n"),
        ("bootstrap", "install_success", "install_success\n"),
        ("bootstrap", "configure_failure", "configure_failure\n"),
        ("bootstrap", "bootstrap_success", "bootstrap_success\n"),
    ],
)
def test_the_status_after_a_stage_that_did_not_run(
    service: Service, stage: str, status: str, after: str | None
) -> None:
    service.set_status(status)
    service.run(stage)
    assert service.status == after


@pytest.mark.parametrize("word", ["1", "true", "YES", "y"])
def test_words_for_reconfigurable(service: Service, word: str) -> None:
    service.set_status("bootstrap_success")
    service.run("configure", RECONFIGURABLE=word)
    assert "configure" in service.calls


@pytest.mark.parametrize("word", ["", "false", "no", "on"])
def test_words_for_not_reconfigurable(service: Service, word: str) -> None:
    service.set_status("bootstrap_success")
    assert service.run("configure", RECONFIGURABLE=word).returncode == 1
    assert "configure" not in service.calls


def test_asking_for_reconfiguration_does_not_make_an_appliance_reconfigurable(service: Service) -> None:
    service.set_status("bootstrap_success")
    assert service.run("configure", "reconfigure").returncode == 1
    assert "configure" not in service.calls


def test_the_life_of_an_image(service: Service) -> None:
    assert [service.run(stage).returncode for stage in STAGES] == [0, 0, 0]
    assert service.status == "bootstrap_success\n"
    assert service.calls == ["install", "cleanup", "configure", "cleanup", "bootstrap", "cleanup"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_status_while_a_stage_runs(service: Service, stage: str) -> None:
    service.set_status(RUNS[stage][0])
    service.run(stage, body='cat "$ONE_SERVICE_STATUS" >>"$CALLS"; cat "$ONE_SERVICE_PIDFILE" >/dev/null')
    assert service.calls == [stage, f"{stage}_started", "cleanup"]
    assert not service.pid_file.exists()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("(exit 7)", 7),
        ("exit 3", 3),
        ("exit 0", 0),
        ("false | true; false", 1),
        ("msg error 'no such luck'", 1),
        ("msg shout 'no such level'", 2),
    ],
)
@pytest.mark.timing
def test_a_stage_that_fails(service: Service, stage: str, body: str, code: int) -> None:
    service.set_status(RUNS[stage][0])
    started = time.monotonic()
    result = service.run(stage, body=f'{body}; echo survived >>"$CALLS"')
    assert (result.returncode, service.status) == (code, f"{stage}_failure\n")
    assert service.calls == [stage, "cleanup"]
    assert time.monotonic() - started < 1.5, "it waited for something"
    assert not service.pipe.exists()


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
def test_a_signal_cleans_up_and_lets_the_stage_go_on_without_errexit(service: Service, name: str) -> None:
    """one-apps' own trap; an appliance that wants to end sets one of its own."""
    result = service.run(
        "install",
        body=f'kill -{name} $$; false; echo survived >>"$CALLS"; cat "$ONE_SERVICE_STATUS" >>"$CALLS"',
    )
    assert (result.returncode, service.status) == (0, "install_success\n")
    assert service.calls == ["install", "cleanup", "survived", "install_failure", "cleanup"]


@pytest.mark.parametrize("stage", STAGES)
def test_an_error_that_is_only_told_ends_the_stage(service: Service, stage: str) -> None:
    """`msg error` returns 1: whoever wants to collect errors, or to fall back, has to catch it."""
    service.set_status(
        {"install": "", "configure": "install_success", "bootstrap": "configure_success"}[stage]
    )
    result = service.run(stage, body='msg error "not good"; echo went-on >>"$CALLS"')
    assert (result.returncode, service.status) == (1, f"{stage}_failure\n")
    assert service.calls == [stage, "cleanup"]


def test_a_stage_that_fails_says_so_in_the_message_of_the_day(service: Service) -> None:
    service.set_status("install_success")
    service.run("configure", body="false")
    motd = service.motd
    assert "2/3 Configuration step failed." in motd
    assert "APPLIANCE ERROR" in motd


def test_all_set_is_said_after_the_last_stage_only(service: Service) -> None:
    said = []
    for stage in STAGES:
        service.run(stage)
        said.append("All set and ready to serve 8)" in service.motd)
    assert said == [False, False, True]


def test_a_pipe_does_not_fail_for_its_first_half(service: Service) -> None:
    """one-apps sets errexit only; an appliance that wants pipefail sets it."""
    assert service.run("install", body="false | true").returncode == 0


def test_only_the_owner_may_read_what_a_stage_makes(service: Service) -> None:
    service.run("install", body='touch "$CALLS.file"; mkdir "$CALLS.folder"')
    modes = {
        name: stat.S_IMODE((service.root / name).stat().st_mode)
        for name in (
            "calls.file",
            "etc/one-appliance/status",
            "etc/motd",
            "var/log/one-appliance/install.log",
            "calls.folder",
            "var/log/one-appliance",
        )
    }
    assert list(modes.values()) == [0o600] * 4 + [0o700] * 2, modes


@in_own_words
def test_the_log_has_both_streams_and_is_printed(service: Service) -> None:
    result = service.run("install", body="msg info one; msg warning two; msg debug three")
    log = (service.root / "var/log/one-appliance/install.log").read_text(encoding="utf-8")
    assert log == "INFO: one\nWARNING: two\nDEBUG: three\n"
    assert result.stdout == log


@pytest.mark.parametrize(
    ("level", "code", "stream"),
    [
        ("info", 0, "stdout"),
        ("debug", 0, "stderr"),
        ("warning", 0, "stderr"),
        ("error", 1, "stderr"),
        ("shout", 2, "stderr"),
    ],
)
def test_msg(service: Service, level: str, code: int, stream: str) -> None:
    script = f'. "{service.home}/lib/common.sh"; msg {level} the text'
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == code
    assert {name: "the text" in getattr(result, name) for name in ("stdout", "stderr")} == {
        "stdout": stream == "stdout",
        "stderr": stream == "stderr",
    }


def test_a_pipe_left_by_a_power_cut_fails_one_stage(service: Service) -> None:
    service.set_status("install_success")
    service.pipe.parent.mkdir(parents=True)
    os.mkfifo(service.pipe)
    assert service.run("configure", RECONFIGURABLE="true").returncode != 0
    assert service.status == "configure_failure\n"
    assert not service.pipe.exists()
    assert service.run("configure", RECONFIGURABLE="true").returncode == 0


def test_a_pipe_left_by_a_power_cut_is_for_ever_where_nothing_may_run_again(service: Service) -> None:
    service.set_status("install_success")
    service.pipe.parent.mkdir(parents=True)
    os.mkfifo(service.pipe)
    assert [service.run("configure").returncode for _ in range(2)] == [1, 1]
    assert service.status == "configure_failure\n"


@pytest.mark.parametrize(
    ("redirection", "kept_out"),
    [("", True), ("2>/dev/null", True), (">/dev/null", True), (">/dev/null 2>&1", False)],
)
def test_what_goes_on_writing_to_the_log_keeps_the_next_stage_out(
    service: Service, redirection: str, kept_out: bool
) -> None:
    """tee holds the lock as long as anybody may write to the stage's log."""
    # Descriptor 3 is the output of `service`, which run() reads to its end.
    body = f'sleep 60 {redirection} 3>&- & echo $! >"$CALLS.pid"'
    with (service.root / "log").open("w") as log:
        subprocess.run(
            ["bash", service.home / "service", "install"],
            env={"PATH": os.environ["PATH"], "CALLS": f"{service.root}/calls", "BODY": body},
            stdout=log,
            stderr=log,
            timeout=20,
            check=True,
        )
    pid = int((service.root / "calls.pid").read_text(encoding="utf-8"))
    try:
        time.sleep(0.2)
        result = service.run("configure")
    finally:
        os.kill(pid, 15)
    if kept_out:
        assert (result.returncode, result.stdout, result.stderr) == (1, "", "")
        assert service.status == "install_success\n"
    else:
        assert (result.returncode, service.status) == (0, "configure_success\n")


def test_a_stage_inherits_the_output_of_service_but_not_its_lock(service: Service) -> None:
    service.run("install", body='ls -l /proc/self/fd | sed -n "s/.* \\([0-9]*\\) -> .*/\\1/p" >>"$CALLS"')
    inherited = {int(call) for call in service.calls if call.isdigit()}
    assert {0, 1, 2, 3} <= inherited
    assert 9 not in inherited


def test_a_second_run_at_the_same_time_does_nothing(service: Service) -> None:
    service.set_status("install_success")
    service.pid_file.write_text(f"{os.getpid()}\n", encoding="utf-8")
    result = service.run("configure")
    assert (result.returncode, service.calls) == (0, [])
    assert service.status == "install_success\n"


@pytest.mark.parametrize(
    "arguments",
    [["start"], ["configure", "now"], ["bootstrap", "1.2"], ["help", "me"], ["install", "1.2", "more"]],
    ids=" ".join,
)
def test_wrong_arguments(service: Service, arguments: list[str]) -> None:
    service.set_status("install_success")
    assert service.run(*arguments).returncode == 2
    assert (service.calls, service.status) == ([], "install_success\n")


def test_the_version_on_the_command_line_wins(service: Service) -> None:
    service.run("install", "2.5", body='echo "$ONE_SERVICE_VERSION" >>"$CALLS"')
    assert service.calls == ["install", "2.5", "cleanup"]


@in_own_words
@pytest.mark.parametrize("arguments", [["help"], ["-h"], ["--help"], []], ids=" ".join)
def test_help_lists_the_parameters_and_changes_nothing(service: Service, arguments: list[str]) -> None:
    result = service.run(*arguments)
    assert result.returncode == 0
    assert "ONEAPP_COLOUR (configure)\n    Colour of the shed\n" in result.stdout
    assert (service.status, service.calls) == (None, [])
