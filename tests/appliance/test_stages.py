"""The one-apps stages from outside: exit status, console, report, MOTD, and which services are touched."""

from __future__ import annotations

import configparser
import json
import subprocess
from collections.abc import Callable

import pytest
from bash_guest import APPLIANCE, Guest
from moments import Moments
from waking_engine import waking_engine

REPORT = "/etc/one-appliance/config"


def boot(guest: Guest) -> None:
    """The first successful boot."""
    guest.stub("curl", "#!/usr/bin/env bash\nexit 0\n")
    guest.configure()
    guest.bootstrap()


@pytest.fixture(scope="module")
def moments(guest_factory: Callable[[str], Guest], tmp_path_factory: pytest.TempPathFactory) -> Moments:
    return Moments(guest_factory("stages"), tmp_path_factory.mktemp("moments"))


@pytest.fixture
def booted(moments: Moments) -> Guest:
    """A guest after its first successful boot."""
    return moments.after(boot)


def report(guest: Guest) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(guest.path(REPORT))
    return parser


def mode(guest: Guest, name: str) -> str:
    return oct(guest.path(name).stat().st_mode & 0o777)


def test_first_boot(booted: Guest) -> None:
    assert booted.console() == ["slm-copilot: ready https://10.0.2.15/v1"]
    assert booted.told_systemctl() == [
        "enable --quiet slm-engine.service",
        "restart --no-block slm-engine.service",
        "start --no-block slm-engine.service",
        "enable --quiet nginx.service",
        "is-active --quiet nginx.service",
        "start nginx.service",
        "enable --quiet slm-certificate.timer",
        "start slm-certificate.timer",
        "start slm-engine.service",
        "start slm-watchdog.service",
        "show --property MainPID --value slm-engine.service",
    ]


def test_the_report(booted: Guest) -> None:
    found = {section: dict(report(booted)[section]) for section in report(booted).sections()}
    assert next(iter(found)) == "status"
    status = found.pop("status")
    assert (set(status), status["state"]) == ({"state", "time"}, "bootstrap_success")
    password = found["connection"].pop("password")
    assert len(password) == 32
    fingerprint, expires = found["certificate"].pop("fingerprint_sha256"), found["certificate"].pop("expires")
    assert len(fingerprint.split(":")) == 32
    assert expires.endswith("Z")
    assert found == {
        "connection": {
            "endpoint": "https://10.0.2.15/v1",
            "username": "admin",
            "model": "smollm2-135m-instruct",
        },
        "certificate": {
            "mode": "selfsigned",
            "status": "selfsigned",
            "file": str(booted.path("/etc/ssl/slm-copilot/cert.pem")),
            "names": "DNS:copilot,DNS:localhost,IP:10.0.2.15,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1",
        },
        "engine": {
            "name": "llama-server",
            "version": "1.2.3",
            "threads": "2",
            "context_size": "8192",
            "temperature": "0.15",
            "cpu_variant": "unknown",
        },
        "appliance": {"flavor": "ci", "version": "0.1.0"},
    }


def test_modes_under_umask_0077(booted: Guest) -> None:
    assert {
        name: mode(booted, name)
        for name in (REPORT, "/etc/slm-copilot/admin-password", "/etc/slm-copilot/engine.env")
    } == {
        REPORT: "0o600",
        "/etc/slm-copilot/admin-password": "0o600",
        "/etc/slm-copilot/engine.env": "0o640",
    }
    assert mode(booted, "/etc/slm-copilot") == "0o755"
    assert mode(booted, "/run/slm-copilot") == "0o755"
    assert mode(booted, "/etc/motd") == "0o644"


def test_the_motd_tells_where_but_not_the_password(booted: Guest) -> None:
    motd = booted.path("/etc/motd").read_text()
    assert "https://10.0.2.15/v1" in motd
    assert report(booted)["connection"]["password"] not in motd


def test_a_reboot_with_the_same_context_touches_nothing(booted: Guest) -> None:
    before = {name: booted.path(name).read_bytes() for name in (REPORT, "/etc/slm-copilot/engine.env")}
    booted.forget_systemctl()
    booted.configure()
    booted.bootstrap()
    said = booted.told_systemctl()
    assert "start slm-engine.service" in said, (
        "start waits for an engine that is still loading and is a no-op else"
    )
    assert not [line for line in said if line.split()[0] in ("restart", "reload", "stop")]
    assert {name: booted.path(name).read_bytes() for name in before} == before


def test_a_change_touches_only_what_it_concerns(booted: Guest) -> None:
    """One change more each time, so that every run has exactly one difference from the one before."""
    context: dict[str, str] = {}
    for name, value, touched in (
        ("ONEAPP_SLM_CONTEXT_SIZE", "4096", "restart --no-block slm-engine.service"),
        ("ONEAPP_SLM_MODEL_TEMPERATURE", "0.7", "restart --no-block slm-engine.service"),
        ("ONEAPP_SLM_THREADS", "1", "restart --no-block slm-engine.service"),
        ("ONEAPP_SLM_ADMIN_PASSWORD", "Another-1", "reload nginx.service"),
        ("ONEAPP_SLM_CORS_ORIGINS", "https://a.example", "reload nginx.service"),
        ("ONEAPP_SLM_DOMAIN", "ai.example.org", "reload nginx.service"),
    ):
        context[name] = value
        booted.forget_systemctl()
        booted.configure(**context)
        booted.bootstrap(**context)
        said = [line for line in booted.told_systemctl() if line.split()[0] in ("restart", "reload", "stop")]
        assert said == [touched], name


def test_a_change_survives_an_interrupted_boot(booted: Guest) -> None:
    """configure wrote it, bootstrap never ran; the next run with the same context still applies it."""
    change = {"ONEAPP_SLM_CONTEXT_SIZE": "4096", "ONEAPP_SLM_ADMIN_PASSWORD": "Another-1"}
    booted.configure(**change)
    booted.forget_systemctl()
    booted.configure(**change)
    booted.bootstrap(**change)
    assert {"restart --no-block slm-engine.service", "reload nginx.service"} <= set(booted.told_systemctl())


def test_a_bad_value_leaves_the_running_appliance_alone(booted: Guest) -> None:
    files = [
        path for path in booted.root.rglob("*") if path.is_file() and path.parts[-2:] != ("dev", "console")
    ]
    status = (booted.path("/etc/motd"), booted.path(REPORT))
    before = {path: path.read_bytes() for path in files if "etc" in path.parts and path not in status}
    told_before = {section: dict(report(booted)[section]) for section in report(booted).sections()}
    booted.forget_systemctl()
    result = booted.configure(check=False, ONEAPP_SLM_CONTEXT_SIZE="many")
    assert result.returncode == 1
    assert {path: path.read_bytes() for path in before} == before
    assert booted.told_systemctl() == []
    assert booted.console()[-1] == (
        "slm-copilot: failed configure: ONEAPP_SLM_CONTEXT_SIZE: 'many' is not a whole number in plain digits"
        "; accepted: a whole number of tokens from 512 to 262144"
    )
    assert "'many'" in booted.path("/etc/motd.d/slm-copilot").read_text()
    told = {section: dict(report(booted)[section]) for section in report(booted).sections()}
    status_before, status_now = told_before.pop("status"), told.pop("status")
    assert (status_before["state"], status_now["state"]) == ("bootstrap_success", "configure_failure")
    assert status_now["reason"] == booted.console()[-1].removeprefix("slm-copilot: failed configure: ")
    assert told == told_before, "what still serves must stay in the report"
    assert mode(booted, REPORT) == "0o600"
    booted.configure()
    booted.bootstrap()
    assert not booted.path("/etc/motd.d/slm-copilot").exists()
    assert booted.console()[-1] == "slm-copilot: ready https://10.0.2.15/v1"
    assert "reason" not in report(booted)["status"]


def test_a_booted_that_fails_leaves_its_reason_in_the_report(guest: Guest) -> None:
    guest.configure(check=False, ONEAPP_SLM_THREADS="two")
    [told] = report(guest).sections()
    assert (told, set(report(guest)[told])) == ("status", {"state", "reason", "time"})
    assert report(guest)["status"]["reason"].startswith("ONEAPP_SLM_THREADS: 'two' is not")
    assert mode(guest, REPORT) == "0o600"


def test_the_report_keeps_the_time_of_the_first_of_equal_failures(booted: Guest) -> None:
    def time_of(**context: str) -> str:
        booted.configure(check=False, **context)
        return report(booted)["status"]["time"]

    time_of(ONEAPP_SLM_THREADS="two")
    text = booted.path(REPORT).read_text()
    old = report(booted)["status"]["time"]
    booted.path(REPORT).write_text(text.replace(old, "2001-01-01T00:00:00Z"))
    assert time_of(ONEAPP_SLM_THREADS="two") == "2001-01-01T00:00:00Z"
    assert time_of(ONEAPP_SLM_THREADS="three") > "2020"


def test_the_first_configuration_sets_the_engine_going_before_certificate_and_site(guest: Guest) -> None:
    guest.stub("nginx", "#!/usr/bin/env bash\nexit 1\n")
    guest.configure(check=False)
    assert guest.told_systemctl()[-1] == "restart --no-block slm-engine.service"
    assert not guest.path("/run/slm-copilot/pending-engine").exists()


def test_a_later_configuration_leaves_the_engine_alone_until_the_bootstrap_stage(booted: Guest) -> None:
    booted.forget_systemctl()
    booted.configure(ONEAPP_SLM_CONTEXT_SIZE="2048")
    assert booted.told_systemctl() == []
    booted.bootstrap(ONEAPP_SLM_CONTEXT_SIZE="2048")
    assert "restart --no-block slm-engine.service" in booted.told_systemctl()


def test_an_engine_that_does_not_start(guest: Guest) -> None:
    guest.configure()
    guest.configure(ONEAPP_SLM_CONTEXT_SIZE="2048")
    guest.write("/broken-slm-engine.service", "")
    guest.stub("journalctl", "#!/usr/bin/env bash\necho 'srv load_model: failed to load model'\n")
    result = guest.bootstrap(check=False, ONEAPP_SLM_CONTEXT_SIZE="2048")
    assert result.returncode != 0
    assert guest.console() == [
        "slm-copilot: failed bootstrap: the engine did not become ready: srv load_model: failed to load "
        "model (journalctl -u slm-engine.service)"
    ]
    assert report(guest).sections() == ["status"]
    assert report(guest)["status"]["state"] == "bootstrap_failure"
    assert "failed to load model" in report(guest)["status"]["reason"]
    assert guest.path("/run/slm-copilot/pending-engine").exists()


def test_a_broken_tool_stops_configure_with_its_reason(guest: Guest) -> None:
    guest.stub("jq", "#!/usr/bin/env bash\nexit 3\n")
    assert guest.configure(check=False).returncode != 0
    assert guest.console() == [
        "slm-copilot: failed configure: the addresses of this machine could not be read: ip or jq failed"
    ]


def test_an_unexpected_failure_names_the_step_and_the_log(guest: Guest) -> None:
    stage = "break_down() { false; }\nrun_stage configure load_flavor break_down"
    trap = "trap 'set +e; service_cleanup' EXIT"
    assert guest.run(f"{trap}\n{stage}", check=False).returncode != 0
    assert guest.console() == [
        "slm-copilot: failed configure: step break_down stopped unexpectedly, "
        "see /var/log/one-appliance/configure.log"
    ]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("/opt/slm-copilot/flavor.env", "flavor.env is missing"),
        ("/opt/slm-copilot/models/model.gguf", "model.gguf is missing or empty"),
    ],
)
def test_an_incomplete_image_says_so(guest: Guest, damage: str, complaint: str) -> None:
    guest.path(damage).unlink()
    assert guest.configure(check=False).returncode != 0
    assert complaint in guest.console()[0]


def test_a_model_that_is_no_gguf_and_an_unknown_engine(guest: Guest) -> None:
    guest.write("/opt/slm-copilot/models/model.gguf", "<html>not found</html>")
    guest.configure(check=False)
    assert "is not a GGUF file" in guest.console()[-1]
    flavor = guest.path("/opt/slm-copilot/flavor.env")
    flavor.write_text(flavor.read_text().replace("SLM_ENGINE=llama-server", "SLM_ENGINE=other"))
    guest.configure(check=False)
    assert "engine 'other' isn't built into this image" in guest.console()[-1]


def test_the_console_line_stays_one_line(guest: Guest) -> None:
    guest.configure(check=False, ONEAPP_SLM_DOMAIN="a\nslm-copilot: ready https://evil\r\x1b[2J")
    [line] = guest.console()
    assert line.startswith("slm-copilot: failed configure: ONEAPP_SLM_DOMAIN")
    assert line.isprintable()


def test_sourcing_defines_the_contract_and_prints_nothing(guest: Guest) -> None:
    result = guest.run(
        "for name in install configure bootstrap cleanup help; do declare -F service_$name; done >/dev/null;"
        'echo "$ONE_SERVICE_RECONFIGURABLE|$ONE_SERVICE_VERSION|$ONE_SERVICE_BUILD|$ONE_SERVICE_NAME"'
    )
    assert result.stderr == ""
    assert result.stdout == "true|0.1.0|7|Service SLM-Copilot - private AI coding assistant on CPUs\n"


@pytest.mark.parametrize("copied", [True, False])
def test_appliance_sh_finds_its_parts_as_copy_and_as_link(guest: Guest, copied: bool) -> None:
    installed = guest.path("/opt/slm-copilot/appliance")
    installed.symlink_to(APPLIANCE)
    service = guest.write(
        "/etc/one-appliance/service.d/appliance.sh", (APPLIANCE / "appliance.sh").read_text()
    )
    if not copied:
        service.unlink()
        service.symlink_to(APPLIANCE / "appliance.sh")
    result = subprocess.run(
        ["bash", "-c", f'set -e; . "{service}"; declare -F validate_parameters'],
        env={"PATH": "/usr/bin:/bin", "SLM_ROOT": str(guest.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "validate_parameters", result.stderr


def engine_state(
    guest: Guest, verb: str, main_pid: str = "", port: int = 9
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [APPLIANCE / "bin" / "engine-state", verb],
        env={
            "PATH": f"{guest.stubs}:/usr/bin:/bin",
            "SLM_ROOT": str(guest.root),
            "MAINPID": main_pid,
            "SLM_ENGINE_PORT": str(port),
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


COMPLETION = json.dumps({"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 1}})


def test_ready_is_written_only_after_a_completion(guest: Guest) -> None:
    """Health is refused twice, the completion is empty twice, then it answers."""
    guest.write("/proc/77/maps", "")
    guest.write("/run/slm-copilot/ready.json", "from before")
    path = guest.path("/run/slm-copilot/ready.json")
    with waking_engine(path) as engine:
        assert engine_state(guest, "wait", "77", engine.port).returncode == 0
    assert (engine.health, engine.completions, engine.early) == (5, 3, False)
    assert not path.exists(), "clients come before what was kept is loaded"
    assert engine_state(guest, "ready").returncode == 0
    assert json.loads(path.read_text()) == {
        "status": "ready",
        "model": "smollm2-135m-instruct",
        "engine": "llama-server",
    }
    assert mode(guest, "/run/slm-copilot/ready.json") == "0o644"
    assert engine_state(guest, "gone").returncode == 0
    assert not path.exists()


def test_waiting_ends_when_the_engine_dies(guest: Guest) -> None:
    result = engine_state(guest, "wait", "77")
    assert result.returncode == 1
    assert "ended before its model answered" in result.stderr
    assert not guest.path("/run/slm-copilot/ready.json").exists()


def test_the_unit_holds_what_the_contract_promises() -> None:
    unit = (APPLIANCE / "templates" / "slm-engine.service").read_text()
    for line in (
        "User=slm-engine",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectHome=yes",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
        "MemoryDenyWriteExecute=yes",
        "CapabilityBoundingSet=",
        "Restart=always",
        "UMask=0077",
    ):
        assert line in unit.splitlines()
    assert "ProcSubset" not in unit
    assert "--host 127.0.0.1 --port 8080" in unit
    assert "--log-verbosity 1" in unit


def test_engine_environment_has_every_value(booted: Guest) -> None:
    values = dict(
        line.split("=", 1) for line in booted.path("/etc/slm-copilot/engine.env").read_text().splitlines()
    )
    assert values["LLAMA_ARG_MODEL"] == str(booted.path("/opt/slm-copilot/models/model.gguf"))
    assert values["LLAMA_ARG_ALIAS"] == "smollm2-135m-instruct"
    assert values["LLAMA_ARG_CTX_SIZE"] == "8192"
    assert values["LLAMA_ARG_TEMPERATURE"] == "0.15"
    assert (values["LLAMA_ARG_THREADS"], values["SLM_THREADS_BATCH"]) == ("2", "2")
    assert int(values["LLAMA_ARG_SSE_PING_INTERVAL"]) < 15
    assert int(values["LLAMA_ARG_THREADS_HTTP"]) > 24
    assert not [name for name in values if "KEY" in name or "HOST" in name]
