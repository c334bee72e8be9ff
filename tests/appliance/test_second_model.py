"""A second model beside the first: off unless the context says so, one of both in memory."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from bash_guest import Guest
from gguf_file import CODING_MODEL, CODING_MODEL_BYTES, SMALL_MODEL, write_gguf
from localai_guest import (
    CONFIGURE,
    CONFIGURE_ENGINE,
    ENGINE,
    INSTALL,
    SECOND,
    environment_of,
    load_njs,
    put_localai,
    put_second_model,
)
from nginx_site import CHAT, PASSWORD, Site, bearer, running_site
from recording_engine import Engine, recording_engine

FIRST_MODEL = "/opt/slm-copilot/models/model.gguf"
FIRST = "smollm2-135m-instruct"
NAME = SECOND["ONEAPP_SLM_SECOND_MODEL"]
DESCRIPTION = "/etc/slm-copilot/engine-second-model.yaml"
CODER_7B = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 28,
    "qwen2.context_length": 32768,
    "qwen2.embedding_length": 3584,
    "qwen2.attention.head_count": 28,
    "qwen2.attention.head_count_kv": 4,
}
"""The shape of Qwen2.5-Coder-7B: 56 KiB a token."""


@pytest.fixture
def bare(guest: Guest) -> Guest:
    """With LocalAI, but before its install stage: enough for what is refused."""
    put_localai(guest)
    return guest


@pytest.fixture
def localai(bare: Guest) -> Guest:
    bare.run(INSTALL)
    return bare


@pytest.fixture
def two(localai: Guest) -> Guest:
    put_second_model(localai)
    return localai


def then(value: str) -> str:
    """Bash: the context has another second model, and is configured again."""
    return f"; export ONEAPP_SLM_SECOND_MODEL={value}; clear_pending engine; {CONFIGURE_ENGINE}"


def memory(guest: Guest, gib: float) -> None:
    guest.write("/proc/meminfo", f"MemTotal:       {round(gib * 1024**2)} kB\nMemFree:  1 kB\n")


def description(guest: Guest, path: str = DESCRIPTION) -> dict[str, Any]:
    return dict(yaml.safe_load(guest.path(path).read_text()))


def engine_files(guest: Guest) -> dict[str, str]:
    """Everything that the engine is shown or told, but for its key."""
    roots = [guest.path(ENGINE), guest.path("/etc/slm-copilot")]
    files = [path for root in roots for path in root.rglob("*") if path.name != "engine-key.env"]
    return {str(path): path.read_text() for path in files if path.is_file()}


def refusal(guest: Guest, **variables: str) -> str:
    """The one line with which configure ends; the same on the console, in the report and in the MOTD."""
    assert guest.configure(check=False, **variables).returncode != 0
    [line] = guest.console()
    reason = line.removeprefix("slm-copilot: failed configure: ")
    assert f"reason={reason}\n" in guest.path("/etc/one-appliance/config").read_text()
    assert reason in guest.path("/etc/motd.d/slm-copilot").read_text()
    assert not guest.path("/etc/slm-copilot/engine.env").exists()
    return reason


# ---- on and off


def test_a_file_that_nobody_names_changes_nothing(localai: Guest) -> None:
    localai.run(CONFIGURE_ENGINE)
    before = engine_files(localai)
    put_second_model(localai)
    localai.run(CONFIGURE_ENGINE)
    assert engine_files(localai) == before


def test_both_are_shown_to_the_engine_with_their_weights_and_none_is_left_of_a_third(two: Guest) -> None:
    put_second_model(two, name="beta")
    two.run(CONFIGURE_ENGINE + then(NAME), ONEAPP_SLM_SECOND_MODEL="beta")
    models = two.path(f"{ENGINE}/models")
    assert sorted(path.name for path in models.iterdir()) == ["gguf", "model.yaml", "second-model.yaml"]
    assert sorted(path.name for path in (models / "gguf").iterdir()) == [f"{NAME}.gguf", "model.gguf"]
    told = [yaml.safe_load((models / name).read_text()) for name in ("model.yaml", "second-model.yaml")]
    assert [one["name"] for one in told] == [FIRST, NAME]
    for one in told:
        assert (models / one["parameters"]["model"]).read_bytes()[:4] == b"GGUF"
    assert two.path(f"/opt/slm-copilot/models/{NAME}.gguf").stat().st_mode & 0o777 == 0o644


def test_taken_back_it_leaves_nothing_behind_and_the_engine_is_restarted(two: Guest) -> None:
    pending = "; is_pending engine && echo restart || echo none"
    two.run(CONFIGURE_ENGINE)
    before = engine_files(two)
    script = f"true{then(NAME)}{pending}{then(NAME)}{pending}{then('')}{pending}"
    assert two.run(script).stdout.splitlines()[-3:] == ["restart", "none", "restart"]
    assert engine_files(two) == before
    assert [path.name for path in two.path(f"{ENGINE}/models/gguf").iterdir()] == ["model.gguf"]


def test_the_report_and_the_motd_name_both(two: Guest) -> None:
    show = (
        "render_certificate_section() { :; }; public_endpoint() { echo https://x/v1; };"
        "serves_selfsigned_pair() { false; }; SLM_PASSWORD=x"
    )
    ends = f"{CONFIGURE_ENGINE}; {show}; render_report; announce_ready"
    told = configparser.ConfigParser(interpolation=None)
    told.read_string(two.run(ends, **SECOND).stdout)
    assert (told["connection"]["model"], told["connection"]["second_model"]) == (FIRST, NAME)
    assert f" Model     {FIRST} {NAME}\n" in two.path("/etc/motd").read_text()


# ---- what is refused


def test_an_engine_that_serves_one_model_refuses_a_second(guest: Guest) -> None:
    put_second_model(guest)
    assert refusal(guest, **SECOND) == (
        "ONEAPP_SLM_SECOND_MODEL: the engine llama-server of this image serves one model only; accepted here:"
        " nothing. Leave it empty, or use an image with the engine localai"
    )


def test_a_file_that_is_not_there_is_refused_with_those_that_are(bare: Guest) -> None:
    put_second_model(bare)
    assert refusal(bare, ONEAPP_SLM_SECOND_MODEL="beta").endswith(
        f"models/beta.gguf; accepted here: one of {NAME}, or nothing"
    )


def test_where_there_is_no_other_file_nothing_is_accepted(bare: Guest) -> None:
    said = refusal(bare, **SECOND)
    assert "accepted here: nothing as long as no other GGUF file lies in " in said


@pytest.mark.parametrize("name", [FIRST, "model"])
def test_the_first_model_is_no_second(bare: Guest, name: str) -> None:
    put_second_model(bare)
    assert refusal(bare, ONEAPP_SLM_SECOND_MODEL=name) == (
        f"ONEAPP_SLM_SECOND_MODEL: '{name}' is the first model; accepted here: one of {NAME}, or nothing"
    )


@pytest.mark.parametrize("content", [b"", b"PK\3\4 something else"])
def test_a_file_that_is_no_model_is_refused(bare: Guest, content: bytes) -> None:
    put_second_model(bare).write_bytes(content)
    assert ("is not a GGUF file" if content else "there is no file") in refusal(bare, **SECOND)


# ---- the larger one has to fit, not both


def test_two_models_fit_where_their_sum_does_not(localai: Guest) -> None:
    write_gguf(localai.path(FIRST_MODEL), CODING_MODEL, size=CODING_MODEL_BYTES)
    put_second_model(localai, CODING_MODEL, CODING_MODEL_BYTES)
    memory(localai, 24)
    localai.run(CONFIGURE_ENGINE, ONEAPP_SLM_CONTEXT_SIZE="16384", **SECOND)
    assert description(localai)["context_size"] == 16384


def test_a_second_model_that_does_not_fit_is_refused_with_the_arithmetic(bare: Guest) -> None:
    put_second_model(bare, CODING_MODEL, CODING_MODEL_BYTES)
    memory(bare, 16)
    assert refusal(bare, **SECOND) == (
        f"ONEAPP_SLM_SECOND_MODEL: {NAME} does not fit in the first model's place: 13.3 GiB for the model + "
        "1.3 GiB for 8192 tokens of context + 384 MiB for the engine + 512 MiB for its prompt cache + 384 MiB"
        " for the system + 3.2 GiB kept free = 19.1 GiB of 16.0 GiB; choose a smaller one or a smaller"
        " context, or give the VM 21 GiB"
    )


def test_each_prompt_cache_gets_what_its_own_model_leaves(localai: Guest) -> None:
    write_gguf(localai.path(FIRST_MODEL), CODING_MODEL, size=CODING_MODEL_BYTES)
    put_second_model(localai, CODER_7B, 4_683_073_536)
    memory(localai, 24)
    localai.run(CONFIGURE_ENGINE, **SECOND)
    paths = ("/etc/slm-copilot/engine-model.yaml", DESCRIPTION)
    options = [one for path in paths for one in description(localai, path)["options"]]
    caches = [one for one in options if one.startswith("cache_ram:")]
    # the first: what 24 GiB leave. The second: eight of its contexts, 8 * 8192 * 56 KiB
    assert caches == ["cache_ram:3940", "cache_ram:3584"]


def test_a_second_model_gets_no_longer_context_than_it_was_trained_for(localai: Guest) -> None:
    put_second_model(localai, {**SMALL_MODEL, "llama.context_length": 2048})
    result = localai.run(CONFIGURE_ENGINE, **SECOND)
    assert description(localai)["context_size"] == 2048
    assert f"{NAME} was trained for 2048 tokens and gets that many, not 8192" in result.stderr
    assert description(localai, "/etc/slm-copilot/engine-model.yaml")["context_size"] == 8192
    assert environment_of(localai.path("/etc/slm-copilot/engine.env"))["LOCALAI_CONTEXT_SIZE"] == "8192"


# ---- which of them answers


@pytest.fixture(scope="module")
def behind(guest_factory: Callable[[str], Guest]) -> Iterator[tuple[Site, Engine]]:
    guest = guest_factory("two-models-site")
    put_localai(guest)
    put_second_model(guest)
    load_njs(guest)
    guest.run(INSTALL)
    with (
        recording_engine() as engine,
        running_site(
            guest, engine, configure=CONFIGURE, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD, **SECOND
        ) as site,
    ):
        yield site, engine


def ask(site: Site, body: dict[str, object], path: str = CHAT) -> int:
    headers = {**bearer(), "Content-Type": "application/json"}
    return site.ask(
        "POST",
        path,
        headers,
        json.dumps({"messages": [{"role": "user", "content": "Hello"}], "prompt": "Hello", **body}),
    ).status


@pytest.mark.parametrize("name", [FIRST, NAME])
def test_a_request_by_name_reaches_the_engine_as_it_is(behind: tuple[Site, Engine], name: str) -> None:
    site, engine = behind
    assert ask(site, {"model": name}) == 200
    assert json.loads(engine.last().body)["model"] == name


@pytest.mark.parametrize("name", ["beta", NAME.lower(), f"{FIRST} {NAME}", f"gguf/{NAME}.gguf"])
def test_every_other_name_is_none(behind: tuple[Site, Engine], name: str) -> None:
    site, engine = behind
    engine.forget()
    assert ask(site, {"model": name}) == 404
    assert engine.received == []


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_who_names_no_model_means_the_first(behind: tuple[Site, Engine], path: str) -> None:
    site, engine = behind
    assert ask(site, {}, f"{path}?model={NAME}") == 200
    assert engine.last().target == f"{path}?model={FIRST}"


# ---- a swap is no hang


SLEEP = r"""#!/usr/bin/env bash
read -r uptime _ <"$SLM_ROOT/proc/uptime"
now=$((${uptime/./} / 100 + ${1%%.*}))
echo "$now.00 0.00" >"$SLM_ROOT/proc/uptime"
[[ ! -e $SLM_ROOT/moves ]] || sed -i "s/ [0-9]* 5 0/ $now 5 0/" "$SLM_ROOT/proc/60/stat"
exec /bin/sleep 0.02
"""
# the first model answers once it is loaded: 260 s after it was asked, more than twice the watchdog's patience
CURL = r"""#!/usr/bin/env bash
[[ ${*: -1} != */readyz ]] || exit 0
read -r uptime _ <"$SLM_ROOT/proc/uptime"
((${uptime%%.*} >= 1260)) || exit 28
echo '{"choices":[{"finish_reason":"stop"}],"usage":{"completion_tokens":1}}'
"""
SYSTEMCTL = r"""#!/usr/bin/env bash
echo "$*" >>"$SLM_ROOT/systemctl.log"
[[ $1 != show ]] || echo 42
[[ $1 != kill ]] || touch "$SLM_ROOT/run/slm-copilot/ready.json"
"""


@pytest.mark.parametrize("loads", [True, False])
def test_the_watchdog_ends_what_does_nothing_and_not_what_loads_for_minutes(two: Guest, loads: bool) -> None:
    two.run(CONFIGURE_ENGINE, **SECOND)
    two.forget_systemctl()
    for name, text in {"sleep": SLEEP, "curl": CURL, "systemctl": SYSTEMCTL}.items():
        two.stub(name, text)
    two.write("/run/slm-copilot/ready.json", "{}\n")
    two.write("/proc/uptime", "1000.00 0.00\n")
    two.write("/proc/42/stat", f"42 (local-ai) S 1 {'0 ' * 30}\n")
    two.write("/proc/60/stat", f"60 (ld.so) S 42 {'0 ' * 9}7 5 {'0 ' * 20}\n")
    two.write("/proc/net/tcp", "  1: 0100007F:1F90 0100007F:A000 01 0 0 0 990\n")
    if loads:
        two.write("/moves", "")
    two.run(
        "load_flavor; WATCHED_PROGRESS='busy 12' WATCHED_IDLE_S=0; look_after_engine",
        SLM_WATCHDOG_POLL_S="20",
    )
    killed = [line for line in two.told_systemctl() if line.startswith("kill")]
    assert bool(killed) is not loads
