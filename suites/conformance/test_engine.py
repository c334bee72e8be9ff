"""What was asked for in the context reached the engine."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.machine.protocol import Machine
from suites.conformance.engine_loopback import engine_settings
from suites.conformance.guest_facts import output, sections

Report = Mapping[str, Mapping[str, str]]

GATHER = """
pid=$(systemctl show --property MainPID --value slm-engine.service)
echo '== arguments';   tr '\\0' '\\n' < "/proc/$pid/cmdline"
echo '== environment'; tr '\\0' '\\n' < "/proc/$pid/environ"
echo '== cores';       lscpu --parse=SOCKET,CORE --online | grep -v '^#' | sort -u | wc -l
echo '== cpus';        nproc
echo '== threads';     ls "/proc/$pid/task" | wc -l
echo '== flavor';      cat /opt/slm-copilot/flavor.env
echo '== wanted';      . /run/one-context/context.sh.network 2>/dev/null
echo "threads=${ONEAPP_SLM_THREADS:-0}"
echo "context=${ONEAPP_SLM_CONTEXT_SIZE:-8192}"
echo "temperature=${ONEAPP_SLM_MODEL_TEMPERATURE:-0.15}"
echo '== end'
"""


@pytest.fixture(scope="module")
def gathered(machine: Machine) -> dict[str, str]:
    return sections(output(machine, GATHER))


@pytest.fixture(scope="module")
def wanted(gathered: dict[str, str]) -> dict[str, str]:
    """What the context asks for, with the defaults of appliance/parameters.yaml."""
    return dict(line.split("=", 1) for line in gathered["wanted"].splitlines())


@pytest.fixture(scope="module")
def settings(machine: Machine) -> dict[str, str]:
    """What the running engine works with."""
    return engine_settings(machine)


def expected_threads(gathered: dict[str, str], wanted: dict[str, str]) -> int:
    """0 means all physical cores; a machine which shows one core with many threads has vCPUs for cores."""
    cores, cpus = int(gathered["cores"]), int(gathered["cpus"])
    return int(wanted["threads"]) or (min(cores, cpus) if cores > 1 else cpus)


def test_the_thread_count_reached_the_engine(
    settings: dict[str, str], gathered: dict[str, str], wanted: dict[str, str]
) -> None:
    assert int(settings["threads"]) == expected_threads(gathered, wanted), gathered["environment"]


def test_the_automatic_thread_count_is_the_number_of_cores(
    gathered: dict[str, str], wanted: dict[str, str], report: Report
) -> None:
    if wanted["threads"] != "0":
        pytest.skip(f"this cell's context asks for {wanted['threads']} threads")
    assert report["engine"]["threads"] == str(expected_threads(gathered, wanted))


def test_the_engine_does_not_run_on_one_thread_by_accident(
    settings: dict[str, str], gathered: dict[str, str]
) -> None:
    if gathered["cpus"].strip() == "1":
        pytest.skip("this guest has one CPU")
    assert int(settings["threads"]) > 1, gathered["environment"]


def test_the_context_size_reached_the_engine(
    settings: dict[str, str], wanted: dict[str, str], report: Report
) -> None:
    assert settings["context_size"] == wanted["context"], settings
    assert report["engine"]["context_size"] == wanted["context"]


def test_one_client_may_use_the_whole_context(settings: dict[str, str], wanted: dict[str, str]) -> None:
    assert settings["client_context"] == wanted["context"], "several clients share it by parts"


def test_the_temperature_reached_the_engine(
    settings: dict[str, str], wanted: dict[str, str], report: Report
) -> None:
    assert float(settings["temperature"]) == pytest.approx(float(wanted["temperature"]), abs=1e-6)
    assert float(report["engine"]["temperature"]) == float(wanted["temperature"])


def test_the_engine_serves_the_baked_in_model(settings: dict[str, str], gathered: dict[str, str]) -> None:
    flavor = dict(line.split("=", 1) for line in gathered["flavor"].splitlines() if "=" in line)
    assert settings["model"].endswith("/models/" + flavor["SLM_MODEL_FILE"].strip("'\""))


INTERNAL_KEYS = {"localai": ("localai_api_key=",)}
"""Variables of an engine that hold a secret nobody outside the guest has any use for; only root and the
engine's own user can read them."""


def test_the_engine_has_no_secret_in_its_arguments_or_environment(
    gathered: dict[str, str], report: Report
) -> None:
    own = INTERNAL_KEYS.get(report["engine"]["name"], ())
    environment = [line for line in gathered["environment"].lower().splitlines() if not line.startswith(own)]
    words = "\n".join([gathered["arguments"].lower(), *environment])
    for word in ("api-key", "api_key", "password", "secret"):
        assert word not in words, f"{word!r} occurs"
    assert report["connection"]["password"] not in gathered["environment"]


RISKY = ("tools", "props", "ui-mcp-proxy", "media-path", "api-key", "log-prompts-dir")


def test_the_engine_offers_nothing_it_need_not(gathered: dict[str, str]) -> None:
    words = (
        gathered["arguments"].splitlines() + gathered["environment"].lower().replace("_", "-").splitlines()
    )
    on = [
        name for name in RISKY if any(word.startswith(("--" + name, "llama-arg-" + name)) for word in words)
    ]
    assert not on, gathered["arguments"]


def test_the_engine_is_bound_to_the_loopback(settings: dict[str, str]) -> None:
    assert settings["address"].partition(":")[0] == "127.0.0.1", settings["address"]
