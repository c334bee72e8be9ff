"""The appliance's parameters: read from appliance/parameters.yaml, rendered for bash and for the docs.

python -m harness.parameters           compares what is generated with its YAML, exit 1 when it differs
python -m harness.parameters --write   rewrites it

Generated are bash's table and the tables of documents, those of profiles.yaml among them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from harness.documents import documents, with_tables
from harness.errors import HarnessError
from harness.locations import REPOSITORY
from harness.profiles import load_profiles, render_sizing_table

SOURCE = REPOSITORY / "appliance" / "parameters.yaml"
BASH_TABLE = REPOSITORY / "appliance" / "lib" / "parameter_table.sh"

Kind = Literal[
    "password", "integer", "decimal", "choice", "base64_pem", "hostname", "https_url", "origins", "model_name"
]
Stage = Literal["install", "configure", "bootstrap"]
_NAME = re.compile(r"ONEAPP_SLM_[A-Z][A-Z0-9_]*")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_INPUT = re.compile(r"[MO]\|(text|text64|password|list|boolean|number)")


class ParameterTableError(ValueError):
    """appliance/parameters.yaml (or the document it is rendered into) isn't what it has to be."""


@dataclass(frozen=True)
class Parameter:
    """One ONEAPP_SLM_* context variable.

    `minimum` and `maximum` bound the value of integer and decimal kinds and the length of a password, both
    ends included. `default` is what an empty value means; an empty default means "none". `form` is what
    OpenNebula's forms ask for where that isn't the help: a text64 input is encoded on its way.
    """

    name: str
    label: str
    kind: Kind
    default: str
    secret: bool
    stage: Stage
    input: str
    accepted: str
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    form: str = ""


def load_parameters(path: Path = SOURCE) -> tuple[Parameter, ...]:
    """Read the parameters in the order of the file.

    Raises ParameterTableError naming entry and key when something is missing, unknown or contradictory.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = document.get("parameters") if isinstance(document, Mapping) else None
    if not isinstance(entries, list) or not entries:
        raise ParameterTableError(f"{path}: no list under 'parameters'")
    parameters = tuple(_parameter(path, entry) for entry in entries)
    for field in ("name", "label"):
        seen = [getattr(parameter, field) for parameter in parameters]
        repeated = sorted({value for value in seen if seen.count(value) > 1})
        if repeated:
            raise ParameterTableError(f"{path}: {field} {repeated[0]} is declared twice")
    return parameters


def render_bash_table(parameters: Sequence[Parameter]) -> str:
    """The bash file the appliance sources: names in order and one associative array per property."""
    lines = [
        "# Generated from appliance/parameters.yaml by `python -m harness.parameters --write`; don't edit.",
        "# shellcheck shell=bash disable=SC2034 # read by parameters.sh and appliance.sh",
        "",
        "declare -ga SLM_PARAM_NAMES=(" + " ".join(parameter.name for parameter in parameters) + ")",
    ]
    columns: dict[str, dict[str, str]] = {
        "LABEL": {p.name: p.label for p in parameters},
        "TYPE": {p.name: p.kind for p in parameters},
        "DEFAULT": {p.name: p.default for p in parameters},
        "MINIMUM": {p.name: "" if p.minimum is None else str(p.minimum) for p in parameters},
        "MAXIMUM": {p.name: "" if p.maximum is None else str(p.maximum) for p in parameters},
        "CHOICES": {p.name: " ".join(p.choices) for p in parameters},
        "REFUSED": {p.name: " ".join(p.refused) for p in parameters},
        "SECRET": {p.name: "true" if p.secret else "false" for p in parameters},
        "STAGE": {p.name: p.stage for p in parameters},
        "INPUT": {p.name: p.input for p in parameters},
        "ACCEPTED": {p.name: p.accepted for p in parameters},
        "HELP": {p.name: p.help for p in parameters},
    }
    for column, values in columns.items():
        lines.append(f"declare -gA SLM_PARAM_{column}=(")
        lines.extend(f"  [{name}]={_bash_quoted(value)}" for name, value in values.items() if value)
        lines.append(")")
    return "\n".join(lines) + "\n"


def render_markdown_table(parameters: Sequence[Parameter]) -> str:
    """The table people read, as GitHub Markdown."""
    rows = ["| Parameter | Default | Accepted | What it does |", "|---|---|---|---|"]
    for parameter in parameters:
        cells = (
            f"`{parameter.name}`", _default_in_words(parameter), parameter.accepted, parameter.help
        )  # fmt: skip
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def render_brief_table(parameters: Sequence[Parameter]) -> str:
    """The table for those who want to know what there is, as GitHub Markdown."""
    rows = ["| Parameter | Default | What it does |", "|---|---|---|"]
    for parameter in parameters:
        told = parameter.help.replace("|", "\\|")
        rows.append(f"| `{parameter.name}` | {_default_in_words(parameter)} | {told} |")
    return "\n".join(rows) + "\n"


def _default_in_words(parameter: Parameter) -> str:
    if parameter.default:
        return f"`{parameter.default}`"
    return "(generated)" if parameter.kind == "password" else "(none)"


def generated_files(parameters: Sequence[Parameter]) -> dict[Path, str]:
    """Every generated file, and every document with a generated table, with the content it must have."""
    tables = {
        "parameters": render_markdown_table(parameters),
        "parameters-brief": render_brief_table(parameters),
        "sizing": render_sizing_table(load_profiles().values()),
    }
    drawn = {path: with_tables(path.read_text(encoding="utf-8"), tables) for path in documents()}
    return {BASH_TABLE: render_bash_table(parameters), **drawn}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.parameters", description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the generated files")
    options = parser.parse_args(arguments)
    try:
        wanted = generated_files(load_parameters())
    except (ParameterTableError, HarnessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if options.write:
            path.write_text(wanted[path], encoding="utf-8")
            print(f"wrote {path.relative_to(REPOSITORY)}")
        else:
            print(
                f"error: {path.relative_to(REPOSITORY)} differs from what it is generated from",
                file=sys.stderr,
            )
    if stale and not options.write:
        print("hint: run python -m harness.parameters --write", file=sys.stderr)
        return 1
    return 0


def _parameter(path: Path, entry: object) -> Parameter:
    if not isinstance(entry, Mapping):
        raise ParameterTableError(f"{path}: an entry isn't a mapping")
    name = str(entry.get("name", ""))
    if not _NAME.fullmatch(name):
        raise ParameterTableError(f"{path}: '{name}' isn't a name of the form ONEAPP_SLM_*")
    fields: dict[str, Any] = {("kind" if key == "type" else str(key)): value for key, value in entry.items()}
    known = set(Parameter.__dataclass_fields__)
    for key in fields:
        if key not in known:
            raise ParameterTableError(f"{path}: {name}: unknown key '{key}'")
    for key in ("label", "kind", "default", "stage", "input", "accepted", "help"):
        if not isinstance(fields.get(key), str):
            raise ParameterTableError(f"{path}: {name}: '{key}' must be a string (quote numbers)")
    if not isinstance(fields.get("secret"), bool):
        raise ParameterTableError(f"{path}: {name}: 'secret' must be true or false")
    if not isinstance(fields.get("form", ""), str):
        raise ParameterTableError(f"{path}: {name}: 'form' must be a string")
    for key, pattern in (("label", _LABEL), ("input", _INPUT)):
        if not pattern.fullmatch(fields[key]):
            raise ParameterTableError(f"{path}: {name}: '{key}' is '{fields[key]}', not {pattern.pattern}")
    if fields["kind"] not in get_args(Kind):
        raise ParameterTableError(
            f"{path}: {name}: type '{fields['kind']}' isn't one of {', '.join(get_args(Kind))}"
        )
    if fields["stage"] not in get_args(Stage):
        raise ParameterTableError(f"{path}: {name}: stage '{fields['stage']}' isn't a stage of one-apps")
    for key in ("choices", "refused"):
        words = tuple(str(word) for word in fields.get(key) or ())
        if any(not word or any(letter.isspace() for letter in word) for word in words):
            raise ParameterTableError(f"{path}: {name}: '{key}' holds an empty word or one with a blank")
        fields[key] = words
    parameter = Parameter(**fields)
    _check_consistency(path, parameter)
    return parameter


def _check_consistency(path: Path, parameter: Parameter) -> None:
    if parameter.kind in ("integer", "decimal", "password") and None in (
        parameter.minimum,
        parameter.maximum,
    ):
        raise ParameterTableError(f"{path}: {parameter.name}: a {parameter.kind} needs minimum and maximum")
    if parameter.kind == "choice" and parameter.default not in parameter.choices:
        raise ParameterTableError(f"{path}: {parameter.name}: the default isn't one of the choices")
    if parameter.secret and parameter.default:
        raise ParameterTableError(f"{path}: {parameter.name}: a secret has no default")
    if parameter.kind in ("integer", "decimal"):
        value = float(parameter.default)
        if not cast(int, parameter.minimum) <= value <= cast(int, parameter.maximum):
            raise ParameterTableError(f"{path}: {parameter.name}: the default is out of range")


def _bash_quoted(text: str) -> str:
    if not text.isprintable():
        raise ParameterTableError(f"a text holds a character that isn't printable: {text!r}")
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    sys.exit(main())
