"""Rules of the files of a contribution beside its entry: metadata, tests, logo, texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.bundle.png import png_problem

HANDLER = "require_relative '../../../lib/community/app_handler'"
NO_SUCH_THING = ("AppHandler", "wait_until_ready", "wait_for_ready")
"""Names that specs use and the community's library hasn't."""

SECTIONS = (
    "# Overview",
    "## Download",
    "## Requirements",
    "# Release Notes",
    "# Quick Start",
    "## Contextualization",
)
STAGES = ("service_install", "service_configure", "service_bootstrap")
_PARAMETER_VALUE = re.compile(r"[A-Za-z0-9._~+/=:@-]*")
"""Values reach the VM through `--context "A=\\"x\\",B=..."`: comma, quote, dollar or blank would end one."""


def contribution_problems(
    own: Path, name: str, listing: Mapping[str, Any], documents: Mapping[str, Any]
) -> list[str]:
    """What is wrong in the appliance's folder `own` and with its logo; `documents` are its parsed YAML."""
    return [
        *_metadata_problems(documents.get("metadata.yaml"), name, listing),
        *_test_problems(documents.get("tests.yaml"), own, name),
        *_context_problems(documents.get("context.yaml"), name),
        *_text_problems(own, listing),
        *_logo_problems(own, name),
        *_script_problems(own),
    ]


def _metadata_problems(metadata: object, name: str, listing: Mapping[str, Any]) -> Iterator[str]:
    where = "metadata.yaml"
    if not isinstance(metadata, dict):
        yield f"{where}: is missing or no mapping"
        return
    for path, accepted in (
        ((":app", ":name"), (name,)),
        ((":app", ":type"), ("service", "distro")),
        ((":app", ":os", ":type"), ("linux", "freebsd", "windows")),
        ((":app", ":hypervisor"), ("KVM",)),
        ((":app", ":context", ":prefixed"), (True, False)),
        ((":infra", ":disk_format"), (listing.get("format"),)),
    ):
        if (value := _at(metadata, path)) not in accepted:
            yield f"{where}: {' '.join(path)} must be {' or '.join(map(str, accepted))}, not {value!r}"
    for path, pattern, words in (
        ((":app", ":os", ":base"), r"[a-z]+\d+", "a distribution like ubuntu2404"),
        ((":one", ":timeout"), r"\d+", "seconds as a text: it becomes an environment variable"),
        ((":one", ":template", "NAME"), r"\S+", "the name of a VM template"),
        ((":one", ":datastore_name"), r"\S+", "the name of a datastore"),
        ((":infra", ":apps_path"), r"/\S+", "a folder"),
    ):
        value = _at(metadata, path)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            yield f"{where}: {' '.join(path)} must be {words}, not {value!r}"
    params = _at(metadata, (":app", ":context", ":params"))
    if not isinstance(params, dict):
        yield f"{where}: :app :context :params must be a mapping, the handler walks through it"
        return
    yield from _param_problems(params, bool(_at(metadata, (":app", ":context", ":prefixed"))), listing)


def _param_problems(params: Mapping[str, Any], prefixed: bool, listing: Mapping[str, Any]) -> Iterator[str]:
    template = listing.get("opennebula_template")
    inputs = template.get("user_inputs") if isinstance(template, dict) else None
    known = {str(key).upper() for key in inputs} if isinstance(inputs, dict) else set()
    for key, value in params.items():
        where = f"metadata.yaml: parameter {key}"
        told = str(key).removeprefix(":")
        if not str(key).startswith(":"):
            yield f"{where} must be a symbol, with a colon in front"
        if prefixed and told.startswith("ONEAPP_"):
            yield f"{where} would become ONEAPP_{told}: prefixed puts ONEAPP_ in front"
        elif (f"ONEAPP_{told}" if prefixed else told) not in known:
            yield f"{where} is none of user_inputs"
        if not isinstance(value, str) or not _PARAMETER_VALUE.fullmatch(value):
            yield f"{where} must be a text of letters, digits and . _ ~ + / = : @ -"


def _test_problems(tests: object, own: Path, name: str) -> Iterator[str]:
    if not isinstance(tests, list) or not tests:
        yield "tests.yaml: must be a list of specs"
        return
    for spec in tests:
        if not re.fullmatch(rf"\d\d-{re.escape(name)}_[a-z]+\.rb", str(spec)):
            yield f"tests.yaml: {spec!r} isn't called like 00-{name}_basic.rb"
            continue
        path = own / "tests" / str(spec)
        if not path.is_file():
            yield f"tests.yaml: there is no tests/{spec}"
            continue
        text = path.read_text(encoding="utf-8")
        if HANDLER not in text:
            yield f"{spec}: must load the library by {HANDLER}"
        if "include_context('vm_handler')" not in text:
            yield f"{spec}: must include_context('vm_handler'), which lends the VM"
        for wrong in NO_SUCH_THING:
            if wrong in text:
                yield f"{spec}: {wrong} doesn't exist in the community's library"
    others = sorted(path.name for path in (own / "tests").glob("*.rb") if path.name not in map(str, tests))
    if others:
        yield f"tests.yaml: doesn't name {', '.join(others)}, which would never run"


def _context_problems(context: object, name: str) -> Iterator[str]:
    entry = _at(context, (":tests", name))
    if not isinstance(entry, dict):
        yield f"context.yaml: has no entry :tests {name}"
        return
    for key, wanted in (
        (":image_name", f"{name}.qcow2"),
        (":type", "linux"),
        (":microenvs", ["context-kvm"]),
        (":slow", True),
        (":enable_netcfg_common", True),
        (":enable_netcfg_ip_methods", True),
    ):
        if entry.get(key) != wanted:
            yield f"context.yaml: {key} must be {wanted!r}, not {entry.get(key)!r}"


def _text_problems(own: Path, listing: Mapping[str, Any]) -> Iterator[str]:
    readme, changes = own / "README.md", own / "CHANGELOG.md"
    if not readme.is_file():
        yield "README.md: is missing"
    else:
        lines = readme.read_text(encoding="utf-8").splitlines()
        if missing := [one for one in SECTIONS if one not in lines]:
            yield f"README.md: has no section {missing[0]}"
        template = listing.get("opennebula_template")
        inputs = template.get("user_inputs") if isinstance(template, dict) else None
        text = "\n".join(lines)
        asked = [str(key).upper() for key in inputs] if isinstance(inputs, dict) else []
        if untold := [key for key in asked if f"`{key}`" not in text]:
            yield f"README.md: doesn't tell of {untold[0]}"
    if not changes.is_file():
        yield "CHANGELOG.md: is missing"
    else:
        headings = re.findall(r"^## \[([^\]]+)\](.*)$", changes.read_text(encoding="utf-8"), re.MULTILINE)
        if not headings or headings[0][0] != listing.get("version"):
            yield f"CHANGELOG.md: doesn't begin with version {listing.get('version')}"
        elif not re.fullmatch(r" - \d{4}-\d\d-\d\d", headings[0][1]):
            yield "CHANGELOG.md: the version has no date; Keep a Changelog wants ` - YYYY-MM-DD`"


def _logo_problems(own: Path, name: str) -> Iterator[str]:
    path = own.parent.parent / "logos" / f"{name}.png"
    if not path.is_file():
        yield f"logos/{name}.png: is missing"
    elif problem := png_problem(path.read_bytes()):
        yield f"logos/{name}.png: {problem}"


def _script_problems(own: Path) -> Iterator[str]:
    path = own / "appliance.sh"
    if not path.is_file():
        yield "appliance.sh: is missing"
        return
    text = path.read_text(encoding="utf-8")
    for stage in STAGES:
        if not re.search(rf"^{stage}\(\)", text, re.MULTILINE):
            yield f"appliance.sh: doesn't define {stage}"


def _at(document: object, path: tuple[str, ...]) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
