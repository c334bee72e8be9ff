"""YAML as the marketplace's linter and clients want it: texts quoted, always the same bytes."""

from __future__ import annotations

from typing import Any

import yaml


class Quoted(str):
    """A text in single quotes: no reader may take `6.10` for a number or `YES` for a truth."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """SafeDumper that indents lists under their key as the community's linter accepts, and knows Quoted."""


def _quoted(dumper: yaml.SafeDumper, text: Quoted) -> yaml.ScalarNode:
    style = "|" if "\n" in text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


_Dumper.add_representer(Quoted, _quoted)


def quoted(value: Any) -> Any:
    """The same structure with every text in it quoted, but for the keys."""
    if isinstance(value, str):
        return Quoted(value)
    if isinstance(value, dict):
        return {key: quoted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [quoted(one) for one in value]
    return value


def yaml_text(document: Any, comment: str = "") -> str:
    """The document with its start, in the order of its keys; lines aren't folded."""
    said = "".join(f"# {line}\n" for line in comment.splitlines())
    body = yaml.dump(
        quoted(document),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=10_000,
        default_flow_style=False,
    )
    return f"{said}---\n{body}"
