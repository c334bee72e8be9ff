"""The stand-in for one-apps' service.sh: which stage may follow which status, and what a stage leaves."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

STANDIN = Path(__file__).resolve().parents[2] / "appliance" / "standin" / "one-appliance"
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


@dataclass(frozen=True)
class Service:
    """`service` and its library in a folder: every absolute path they name is moved below `root`."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "etc/one-appliance"

    @property
    def status(self) -> str | None:
        path = self.home / "status"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def set_status(self, status: str) -> None:
        if status:
            (self.home / "status").write_text(f"{status}\n", encoding="utf-8")

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    def run(self, *arguments: str, body: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        # A failed stage waits two seconds for its log: twenty times a stub instead of `sleep 0.1`.
        path = f"{self.root}/bin:{os.environ['PATH']}"
        environment = {"PATH": path, "CALLS": f"{self.root}/calls", "BODY": body, **variables}
        return subprocess.run(
            ["bash", self.home / "service", *arguments],
            env={**environment, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=20,
            umask=0o022,
            check=False,
        )


def relocate(text: str, root: Path) -> str:
    return re.sub(r"(?<![\w}/.*])/(?=(?:etc|opt|var)/)", f"{root}/", text)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = Service(tmp_path)
    shutil.copytree(STANDIN, made.home)
    for path in (made.home / "service", *(made.home / "lib").iterdir()):
        path.write_text(relocate(path.read_text(encoding="utf-8"), tmp_path), encoding="utf-8")
    appliance = made.home / "service.d/appliance.sh"
    appliance.parent.mkdir(exist_ok=True)
    appliance.write_text(APPLIANCE, encoding="utf-8")
    (tmp_path / "var/run").mkdir(parents=True)
    stub = tmp_path / "bin/sleep"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\n[ "$1" != 0.1 ] || set -- 0.01\nexec /bin/sleep "$1"\n', encoding="utf-8")
    stub.chmod(0o755)
    return made


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
    """Exit status, and what is called, cleanup after a skip or a refusal aside."""
    if status in RUNS[stage] or (reconfigurable and status in AGAIN[stage]):
        return 0, [stage]
    return (0 if status in SKIPPED[stage] else 1), []


@pytest.mark.parametrize(("stage", "status"), EVERY_CALL)
def test_an_appliance_that_is_not_reconfigurable(service: Service, stage: str, status: str) -> None:
    service.set_status(status)
    result = service.run(stage)
    code, called = expected(stage, status, reconfigurable=False)
    assert (result.returncode, [call for call in service.calls if call != "cleanup"]) == (code, called)


@pytest.mark.parametrize(("stage", "status"), EVERY_CALL)
def test_a_reconfigurable_appliance(service: Service, stage: str, status: str) -> None:
    service.set_status(status)
    result = service.run(stage, RECONFIGURABLE="true")
    code, called = expected(stage, status, reconfigurable=True)
    assert (result.returncode, [call for call in service.calls if call != "cleanup"]) == (code, called)


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
    assert not (service.root / "var/run/one-appliance-service.pid").exists()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("(exit 7)", 7),
        ("exit 3", 3),
        ("false | true; false", 1),
        ("msg error 'no such luck'", 1),
        ("msg shout 'no such level'", 2),
    ],
)
def test_a_stage_that_fails(service: Service, stage: str, body: str, code: int) -> None:
    service.set_status(RUNS[stage][0])
    result = service.run(stage, body=f'{body}; echo survived >>"$CALLS"')
    assert (result.returncode, service.status) == (code, f"{stage}_failure\n")
    assert service.calls == [stage, "cleanup"]


def test_a_stage_that_fails_says_so_in_the_message_of_the_day(service: Service) -> None:
    service.set_status("install_success")
    service.run("configure", body="false")
    motd = (service.root / "etc/motd").read_text(encoding="utf-8")
    assert "2/3 Configuration step failed." in motd
    assert "APPLIANCE ERROR" in motd


def test_all_set_is_said_after_the_last_stage_only(service: Service) -> None:
    said = []
    for stage in STAGES:
        service.run(stage)
        said.append(
            "All set and ready to serve 8)" in (service.root / "etc/motd").read_text(encoding="utf-8")
        )
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
    pipe = service.root / "var/log/one-appliance/one_service_log.pipe"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    assert service.run("configure", RECONFIGURABLE="true").returncode != 0
    assert service.status == "configure_failure\n"
    assert not pipe.exists()
    assert service.run("configure", RECONFIGURABLE="true").returncode == 0


def test_a_process_left_behind_keeps_the_next_stage_out(service: Service) -> None:
    service.run("install", body='sleep 60 >/dev/null 2>&1 3>&- & echo $! >"$CALLS.pid"')
    pid = int((service.root / "calls.pid").read_text(encoding="utf-8"))
    try:
        result = service.run("configure")
    finally:
        os.kill(pid, 15)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")
    assert service.status == "install_success\n"
    assert "configure" not in service.calls


def test_a_second_run_at_the_same_time_does_nothing(service: Service) -> None:
    service.set_status("install_success")
    (service.root / "var/run/one-appliance-service.pid").write_text(f"{os.getpid()}\n", encoding="utf-8")
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


def test_help_lists_the_parameters_and_changes_nothing(service: Service) -> None:
    result = service.run("help")
    assert result.returncode == 0
    assert "ONEAPP_COLOUR (configure)\n    Colour of the shed\n" in result.stdout
    assert (service.status, service.calls) == (None, [])
