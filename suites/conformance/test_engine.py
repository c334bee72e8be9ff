"""What was asked for in the context reached the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.machine.protocol import Machine
from suites.conformance.engine_loopback import engine_json
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
def props(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = engine_json(machine, "/props")
    return found


def setting(gathered: dict[str, str], option: str, variable: str) -> str | None:
    """What the running engine was told, by command line or by environment."""
    words = gathered["arguments"].splitlines()
    if option in words:
        return words[words.index(option) + 1]
    return dict(line.split("=", 1) for line in gathered["environment"].splitlines()).get(variable)


def told_threads(gathered: dict[str, str]) -> int:
    return int(setting(gathered, "--threads", "LLAMA_ARG_THREADS") or 0)


def expected_threads(gathered: dict[str, str], wanted: dict[str, str]) -> int:
    """0 means all physical cores; a machine which shows one core with many threads has vCPUs for cores."""
    cores, cpus = int(gathered["cores"]), int(gathered["cpus"])
    return int(wanted["threads"]) or (min(cores, cpus) if cores > 1 else cpus)


def test_the_thread_count_reached_the_engine(gathered: dict[str, str], wanted: dict[str, str]) -> None:
    assert told_threads(gathered) == expected_threads(gathered, wanted), gathered["environment"]


def test_the_automatic_thread_count_is_the_number_of_cores(
    gathered: dict[str, str], wanted: dict[str, str], report: Report
) -> None:
    if wanted["threads"] != "0":
        pytest.skip(f"this cell's context asks for {wanted['threads']} threads")
    assert report["engine"]["threads"] == str(expected_threads(gathered, wanted))


def test_the_engine_does_not_run_on_one_thread_by_accident(gathered: dict[str, str]) -> None:
    if gathered["cpus"].strip() == "1":
        pytest.skip("this guest has one CPU")
    assert told_threads(gathered) > 1, gathered["environment"]


def test_the_context_size_reached_the_engine(
    props: dict[str, Any], wanted: dict[str, str], report: Report, gathered: dict[str, str]
) -> None:
    told = setting(gathered, "--ctx-size", "LLAMA_ARG_CTX_SIZE")
    assert told == wanted["context"], gathered["environment"]
    assert report["engine"]["context_size"] == wanted["context"]
    assert props["default_generation_settings"]["n_ctx"] * props["total_slots"] >= int(wanted["context"])


def test_one_client_may_use_the_whole_context(props: dict[str, Any], wanted: dict[str, str]) -> None:
    assert props["default_generation_settings"]["n_ctx"] == int(wanted["context"]), (
        f"{props['total_slots']} slots share it, so a prompt may only have "
        f"{props['default_generation_settings']['n_ctx']} tokens"
    )


def test_the_temperature_reached_the_engine(
    props: dict[str, Any], wanted: dict[str, str], report: Report
) -> None:
    temperature = props["default_generation_settings"]["params"]["temperature"]
    assert temperature == pytest.approx(float(wanted["temperature"]), abs=1e-6)
    assert float(report["engine"]["temperature"]) == float(wanted["temperature"])


def test_the_engine_serves_the_baked_in_model(props: dict[str, Any], gathered: dict[str, str]) -> None:
    flavor = dict(line.split("=", 1) for line in gathered["flavor"].splitlines() if "=" in line)
    assert props["model_path"].endswith("/models/" + flavor["SLM_MODEL_FILE"].strip("'\""))


def test_the_engine_has_no_secret_in_its_arguments_or_environment(gathered: dict[str, str]) -> None:
    words = (gathered["arguments"] + "\n" + gathered["environment"]).lower()
    for word in ("api-key", "api_key", "password", "secret"):
        assert word not in words, f"{word!r} occurs"


RISKY = ("tools", "props", "ui-mcp-proxy", "media-path", "api-key", "log-prompts-dir")


def test_the_engine_offers_nothing_it_need_not(gathered: dict[str, str]) -> None:
    words = (
        gathered["arguments"].splitlines() + gathered["environment"].lower().replace("_", "-").splitlines()
    )
    on = [
        name for name in RISKY if any(word.startswith(("--" + name, "llama-arg-" + name)) for word in words)
    ]
    assert not on, gathered["arguments"]


def test_the_engine_is_bound_to_the_loopback(gathered: dict[str, str]) -> None:
    assert setting(gathered, "--host", "LLAMA_ARG_HOST") == "127.0.0.1", gathered["arguments"]
