"""What the templates, the flavors, the provisioning scripts and the harness say of each other."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from harness.cli import lint_packer
from harness.image.flavor import FLAVORS_FOLDER, known_flavors, load_flavor
from harness.image.packer import PROVISION_SCRIPT, TEMPLATE, TEMPLATE_BOOTED
from harness.image.staging import LABEL, PROVISION

# What run_packer passes with -var; test_packer_choice.py holds it to this.
PASSED = {template: set(given) for template, given in lint_packer.PASSED.items()}
TEMPLATES = pytest.mark.parametrize("template", list(PASSED), ids=lambda path: path.name)
FLAVORS = pytest.mark.parametrize("name", known_flavors())


def code_of(template: Path) -> str:
    """The template without lines that are only a comment."""
    lines = template.read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def variables_of(template: Path) -> dict[str, bool]:
    """The template's variables and whether they have a default."""
    blocks = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', code_of(template), re.M | re.S)
    return {name: bool(re.search(r"^\s+default\s+=", body, re.M)) for name, body in blocks}


def settings_of(name: str) -> set[str]:
    return set(json.loads((FLAVORS_FOLDER / f"{name}.pkrvars.json").read_text()))


def test_every_script_is_run_and_there() -> None:
    named = {script for name in known_flavors() for script in load_flavor(name).provision}
    assert named == {path.name for path in PROVISION.iterdir()}


def test_flavors_differ_in_what_lies_under_the_appliance_and_in_nothing_else() -> None:
    """The scripts from 20 on put the appliance into the image, the same for all; the others are the ground it
    stands on: a stand-in or the real packages."""
    own = {tuple(one for one in load_flavor(name).provision if one >= "20") for name in known_flavors()}
    assert len(own) == 1


@FLAVORS
def test_scripts_run_in_the_order_the_flavor_says(name: str) -> None:
    # provision.sh takes what its pattern finds, in the order of the names.
    scripts = load_flavor(name).provision
    assert list(scripts) == sorted(scripts)
    assert all(re.fullmatch(r"[0-9].*\.sh", script) for script in scripts)
    assert scripts[-1] == "90-seal.sh"


@pytest.mark.parametrize("script", [PROVISION_SCRIPT, *sorted(PROVISION.iterdir())], ids=lambda p: p.name)
def test_scripts_stop_at_the_first_failure(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "set -euo pipefail" in lines
    assert os.access(script, os.X_OK)


def test_provision_sh_runs_what_is_on_the_staging_disk() -> None:
    text = PROVISION_SCRIPT.read_text()
    assert f"/dev/disk/by-label/{LABEL} " in text
    assert '"$stage"/provision/[0-9]*.sh' in text


@TEMPLATES
def test_both_templates_run_provision_sh_and_take_the_package_list_and_nothing_else(template: Path) -> None:
    blocks = re.findall(r'provisioner "(\w+)" \{\n(.*?)\n  \}', code_of(template), re.S)
    assert [kind for kind, _ in blocks] == ["shell", "file"]
    assert dict(re.findall(r"^\s+(\w+)\s+= (.*)$", blocks[1][1], re.M)) == {
        "direction": '"download"',
        "source": '"/opt/slm-copilot/packages.txt"',
        "destination": "var.package_list",
    }
    assert "/opt/slm-copilot/packages.txt" in (PROVISION / "90-seal.sh").read_text()
    assert re.search(r'^\s+script\s+= "\$\{path\.root\}/provision\.sh"$', blocks[0][1], re.M)
    assert template.parent / "provision.sh" == PROVISION_SCRIPT
    assert "inline" not in blocks[0][1]


@TEMPLATES
def test_every_variable_is_used_and_every_used_one_is_there(template: Path) -> None:
    used = set(re.findall(r"\bvar\.(\w+)", code_of(template)))
    assert used == set(variables_of(template))


@FLAVORS
def test_the_template_of_the_plugin_gets_all_its_variables_once(name: str) -> None:
    variables = variables_of(TEMPLATE)
    settings = settings_of(name)
    assert not settings & PASSED[TEMPLATE]
    assert settings | PASSED[TEMPLATE] == set(variables)


def test_the_template_of_a_booted_guest_gets_all_its_variables() -> None:
    assert PASSED[TEMPLATE_BOOTED] == set(variables_of(TEMPLATE_BOOTED))


@TEMPLATES
def test_what_the_harness_gives_has_no_default_that_could_hide_its_absence(template: Path) -> None:
    with_default = {name for name, default in variables_of(template).items() if default}
    assert with_default & PASSED[template] <= {"ssh_timeout"}


@FLAVORS
def test_a_flavors_settings_name_the_flavor(name: str) -> None:
    assert json.loads((FLAVORS_FOLDER / f"{name}.pkrvars.json").read_text())["flavor"] == name


def test_only_the_host_reaches_the_guest_and_a_closed_guest_reaches_nothing() -> None:
    (network,) = re.findall(r'\["-netdev", "(.*)"\],$', code_of(TEMPLATE), re.M)
    assert 'restrict=${var.guest_network == "open" ? "off" : "on"},' in network
    assert "hostfwd=tcp:127.0.0.1:" in network


@FLAVORS
def test_only_a_guest_that_installs_packages_reaches_a_network(name: str) -> None:
    settings = json.loads((FLAVORS_FOLDER / f"{name}.pkrvars.json").read_text())
    installs = "05-cloud-image.sh" in load_flavor(name).provision
    assert settings["guest_network"] == ("open" if installs else "closed")
