"""Every engine offers what engines/README.md says, and what it can't do is no function of its."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bash_guest import APPLIANCE, Guest

README = (APPLIANCE / "engines" / "README.md").read_text()
ENGINES = sorted(path.stem for path in (APPLIANCE / "engines").glob("*.sh"))
CAPABILITIES = re.findall(r"^\| `(\w+)`: ", README, re.M)
KEPT_ONLY = set(
    re.findall(
        r"^\| `(engine_\w+)",
        README.partition("| function of `keep_prompts`")[2].partition("\nTwo more")[0],
        re.M,
    )
)
ALWAYS = set(re.findall(r"^\| `(engine_\w+)", README, re.M)) - KEPT_ONLY
OPTIONAL = {"engine_models"}


def has(guest: Guest, engine: str) -> set[str]:
    """The engine's functions after load_flavor."""
    flavor = guest.path("/opt/slm-copilot/flavor.env")
    flavor.write_text(re.sub("SLM_ENGINE=.*", f"SLM_ENGINE={engine}", flavor.read_text()))
    listed = guest.run("load_flavor; declare -F | sed 's/^declare -f //' | grep '^engine_'").stdout
    return set(listed.split())


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_offers_every_function(guest: Guest, engine: str) -> None:
    wanted = ALWAYS - OPTIONAL
    assert len(wanted) > 10, "the table wasn't found"
    assert wanted <= has(guest, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_engine_can_not_do_is_no_function_of_its(guest: Guest, engine: str) -> None:
    offered = has(guest, engine)
    can = guest.run("load_flavor; engine_can keep_prompts", check=False).returncode == 0
    assert (offered >= KEPT_ONLY) if can else not (offered & KEPT_ONLY)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_table_of_capabilities_says_what_the_engines_say(guest: Guest, engine: str) -> None:
    has(guest, engine)
    assert set(CAPABILITIES) == {"keep_prompts", "bench", "second_model", "speak_while_reading", "tell_cache"}
    column = {"llama-server": 1, "localai": 2}[engine]
    for capability in CAPABILITIES:
        [row] = [line for line in README.splitlines() if line.startswith(f"| `{capability}`: ")]
        can = guest.run(f"load_flavor; engine_can {capability}", check=False).returncode == 0
        assert row.split(" | ")[column] == ("yes" if can else "no"), row


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unknown_capability_is_one_that_it_has_not(guest: Guest, engine: str) -> None:
    has(guest, engine)
    assert guest.run("load_flavor; engine_can fly", check=False).returncode == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_sets_what_the_others_read(guest: Guest, engine: str) -> None:
    has(guest, engine)
    names = ("SLM_ENGINE_HEALTH", "SLM_ENGINE_SLOTS", "SLM_ENGINE_CACHE_MIB", "SLM_ENGINE_CACHE_CONTEXTS")
    shown = " ".join(f"${{{name}:?}}" for name in names)
    health, slots, *_ = guest.run(f'load_flavor; echo "{shown}"').stdout.split()
    assert health.startswith("/")
    assert int(slots) >= 1


def test_nothing_but_an_engines_file_knows_an_engine() -> None:
    """Shared code asks what an engine can, never which one it is."""
    shared = [*(APPLIANCE / "lib").glob("*.sh"), APPLIANCE / "appliance.sh", *(APPLIANCE / "bin").iterdir()]
    branches = re.compile(r"\$\{?SLM_ENGINE\}?\"? +(==|!=|=~|=|in) ")
    knowing = [path.name for path in shared if branches.search(_code(path))]
    assert knowing == []


def _code(path: Path) -> str:
    return "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
