"""Each trap of LocalAI is closed in what the appliance generates, and each check would notice its loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from bash_guest import APPLIANCE, Guest
from localai_guest import SECOND, configured, environment_of, put_localai, put_second_model
from nginx_site import CHAT

TABLE = Path(__file__).with_name("localai_mitigations.yaml")
ROWS: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text())["mitigations"]
NAMES = [row["wrong"] for row in ROWS]
UNIT = "/etc/systemd/system/slm-engine.service"
MODEL = "/etc/slm-copilot/engine-model.yaml"

DESCRIPTIONS = ("model", "devstral", "first", "second")
"""The words of `in` for descriptions of models, whose keys are dotted paths."""

Documents = Mapping[str, Any]


def settings_of(path: Path) -> dict[str, list[str]]:
    """A unit's settings, each with all its values; comments and continuation lines are taken care of."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith(("#", ";")):
            found.setdefault(name, []).append(value.strip())
    return found


def lines_of(text: str) -> list[str]:
    """The lines that do something, without indentation and a directive's semicolon."""
    stripped = (line.strip() for line in text.splitlines())
    return [line.removesuffix(";") for line in stripped if line and not line.startswith("#")]


def location_of(site: str, path: str) -> str:
    """The part of nginx's site that passes requests for a public path to the engine."""
    name = "@engine" + "".join(sign if sign.isalnum() else "_" for sign in path)
    return site.partition(f"location {name} {{")[2].partition("\n    }")[0]


@pytest.fixture(scope="module")
def documents(guest_factory: Callable[[str], Guest]) -> Documents:
    guest = guest_factory("localai")
    put_localai(guest)
    configured(guest)
    devstral = guest_factory("devstral")
    put_localai(devstral, tool_calls="devstral")
    devstral.run("load_flavor; validate_parameters; resolve_model; resolve_threads; engine_configure")
    two = guest_factory("two-models")
    put_localai(two, tool_calls="devstral")
    put_second_model(two)
    configured(two, **SECOND)
    engine = guest.path("/opt/slm-copilot/engine")
    return {
        "two": environment_of(two.path("/etc/slm-copilot/engine.env")),
        "first": yaml.safe_load(two.path(MODEL).read_text()),
        "second": yaml.safe_load(two.path("/etc/slm-copilot/engine-second-model.yaml").read_text()),
        "environment": environment_of(guest.path("/etc/slm-copilot/engine.env")),
        "model": yaml.safe_load(guest.path(MODEL).read_text()),
        "devstral": yaml.safe_load(devstral.path(MODEL).read_text()),
        "unit": settings_of(guest.path(UNIT)),
        "watchdog": settings_of(guest.path("/etc/systemd/system/slm-watchdog.service.d/engine.conf")),
        "route": lines_of(
            location_of(guest.path("/etc/nginx/sites-enabled/slm-copilot.conf").read_text(), CHAT)
        ),
        "auth": lines_of(guest.path("/etc/nginx/slm-copilot/auth.conf").read_text()),
        "run": lines_of((engine / "backends/llama-cpp/run.sh").read_text()),
        "log": lines_of((engine / "backend-log").read_text()),
    }


def complaint(row: Mapping[str, Any], documents: Documents) -> str:
    """What is wrong by this row of the table; "" when the trap is closed."""
    document = documents[row["in"]]
    if isinstance(document, list):
        return "" if row["key"] in document else f"the line `{row['key']}` is missing"
    found = _look_up(document, row)
    if row.get("absent"):
        return "" if found is None else f"{row['key']} is there: {found}"
    if "holds" in row:
        return "" if row["holds"] in (found or ()) else f"{row['key']} is {found}, without {row['holds']}"
    values = found if row["in"] in ("unit", "watchdog") else [found]
    return "" if row["is"] in (values or ()) else f"{row['key']} is {found}, not {row['is']}"


def _look_up(document: Any, row: Mapping[str, Any]) -> Any:
    if row["in"] not in DESCRIPTIONS:
        return document.get(row["key"])
    for name in row["key"].split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def spoil(row: Mapping[str, Any], documents: Documents) -> Documents:
    """The documents as they would be if somebody lost what this row asks for."""
    spoilt = copy.deepcopy(dict(documents))
    document = spoilt[row["in"]]
    if isinstance(document, list):
        document[:] = [line for line in document if line != row["key"]]
        return spoilt
    *folders, last = row["key"].split(".") if row["in"] in DESCRIPTIONS else [row["key"]]
    for name in folders:
        document = document[name]
    if row.get("absent"):
        document[last] = ["something"]
    elif "holds" in row:
        document[last].remove(row["holds"])
    else:
        del document[last]
    return spoilt


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_it_is_closed_that(row: dict[str, Any], documents: Documents) -> None:
    assert complaint(row, documents) == ""


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_loss_is_noticed_of_what_closes_that(row: dict[str, Any], documents: Documents) -> None:
    assert complaint(row, spoil(row, documents)) != ""


def test_the_table_has_every_row_once_and_in_known_words() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for row in ROWS:
        assert set(row) <= {"wrong", "in", "key", "is", "holds", "absent"}, row
        assert len({"is", "holds", "absent"} & set(row)) == (row["in"] not in ("route", "auth", "run", "log"))


def test_every_variable_that_is_told_has_a_row(documents: Documents) -> None:
    """A variable that nobody can say a reason for, or a reason nobody checks."""
    wanted = {row["key"] for row in ROWS if row["in"] == "environment" and not row.get("absent")}
    assert set(documents["environment"]) == wanted


def test_its_sandbox_is_at_least_the_other_engines(documents: Documents) -> None:
    other = settings_of(APPLIANCE / "templates" / "slm-engine.service")
    own = documents["unit"]
    sandbox = [name for name in other if name.startswith(("Protect", "Private", "Restrict", "SystemCall"))]
    sandbox += ["NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "IPAddressDeny"]
    sandbox += ["IPAddressAllow", "LockPersonality", "MemoryDenyWriteExecute", "RemoveIPC", "KeyringMode"]
    assert {name: own.get(name) for name in sandbox} == {name: other[name] for name in sandbox}


def test_nothing_of_it_is_in_its_arguments(documents: Documents) -> None:
    assert documents["unit"]["ExecStart"] == ["/opt/slm-copilot/engine/local-ai run"]
