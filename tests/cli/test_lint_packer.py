"""Which templates `make lint` has Packer validate, with what. Packer is not run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.cli.lint_packer import validate_templates, without_plugin
from harness.image.flavor import known_flavors
from harness.image.packer import TEMPLATE, TEMPLATE_BOOTED

Commands = list[tuple[list[str], str]]


def commands(plugins: Path | None) -> Commands:
    """The words of each command and its PACKER_PLUGIN_PATH."""
    seen: Commands = []

    def run(command: Sequence[str], more: Mapping[str, str]) -> None:
        assert Path(command[-1]).is_file()
        seen.append((list(command), more["PACKER_PLUGIN_PATH"]))

    validate_templates("/packer", run, plugins)
    return seen


def files_of(seen: Commands) -> list[str]:
    return [Path(command[-1]).name for command, _ in seen]


def test_with_the_plugin_the_template_itself_is_validated_with_every_flavor(tmp_path: Path) -> None:
    seen = commands(tmp_path)
    assert files_of(seen) == [TEMPLATE_BOOTED.name, *[TEMPLATE.name for _ in known_flavors()]]
    assert {folder for _, folder in seen[1:]} == {str(tmp_path)}


def test_without_the_plugin_what_needs_none_of_it_is_validated_with_every_flavor() -> None:
    seen = commands(None)
    assert files_of(seen) == [TEMPLATE_BOOTED.name, *["without-plugin.pkr.hcl" for _ in known_flavors()]]
    assert not any(Path(folder).exists() for _, folder in seen)


@pytest.mark.parametrize("has_plugin", [True, False])
def test_every_flavors_own_values_are_given(tmp_path: Path, has_plugin: bool) -> None:
    given = {
        Path(word.removeprefix("-var-file=")).name
        for command, _ in commands(tmp_path if has_plugin else None)
        for word in command
        if word.startswith("-var-file=")
    }
    assert given == {f"{name}.pkrvars.json" for name in known_flavors()}


def test_every_setting_of_the_source_is_computed_without_the_plugin() -> None:
    template = TEMPLATE.read_text()
    rest = without_plugin(template)
    assert "required_plugins" not in rest
    assert 'source "qemu"' not in rest
    (source,) = re.findall(r'^source "qemu" "\w+" \{\n(.*?)^\}', template, re.M | re.S)
    for line in source.splitlines():
        assert line in rest or line.replace(" {", " = {") in rest
    assert set(re.findall(r'^variable "(\w+)"', rest, re.M)) == set(
        re.findall(r'^variable "(\w+)"', template, re.M)
    )
