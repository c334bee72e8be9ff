"""The community's continuous integration lints every YAML file below appliances/ with yamllint; so do we."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yamllint.config import YamlLintConfig

COMMUNITY_RULES = """\
extends: default
rules:
  line-length: disable
  indentation: {indent-sequences: whatever}
"""
"""The rules of OpenNebula/marketplace-community, .yamllint.yml."""


@lru_cache(maxsize=64)
def yaml_problem(text: str) -> str:
    """The first complaint of yamllint about a file, warnings too; "" for none."""
    from yamllint import linter

    try:
        for found in linter.run(text, _config()):
            return f"line {found.line}: yamllint: {found.desc}"
    except RecursionError:
        return "is nested too deep"
    return ""


@cache
def _config() -> YamlLintConfig:
    from yamllint.config import YamlLintConfig

    return YamlLintConfig(COMMUNITY_RULES)
