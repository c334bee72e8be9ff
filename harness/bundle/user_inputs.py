"""OpenNebula's USER_INPUTS: what a person is asked for when a VM is made from the template.

A value is `M|type|description` or `M|type|description|options|default`, M for mandatory or O for optional;
four parts are malformed (OpenNebula src/cli/one_helper.rb).
"""

from __future__ import annotations

import re

from harness.parameters import Parameter

KINDS = (
    "text", "text64", "boolean", "password", "list", "fixed",
    "number", "number-float", "range", "range-float",
)  # fmt: skip
_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")


def user_input(parameter: Parameter) -> str:
    """The entry of a parameter: 3 parts without a default, else 5."""
    parts = [parameter.input, parameter.form or parameter.help]
    if parameter.default or parameter.choices:
        parts += [",".join(parameter.choices) or " ", parameter.default]
    return "|".join(parts)


def user_input_problem(text: str) -> str:
    """What OpenNebula or its forms would trip over; "" for nothing."""
    parts = text.split("|")
    if len(parts) not in (3, 5):
        return f"has {len(parts)} parts, 3 or 5 are accepted"
    head, kind, description, *rest = parts
    options, default = (part.strip() for part in rest) if rest else ("", "")
    if head not in ("M", "O"):
        return f"begins with {head!r}, not with M or O"
    if kind not in KINDS:
        return f"has type {kind!r}, none of {', '.join(KINDS)}"
    if not description.strip():
        return "has no description"
    if '"' in text:
        return "holds a double quote, which OpenNebula writes into the template as it is"
    return _value_problem(kind, options, default)


def _value_problem(kind: str, options: str, default: str) -> str:
    if kind == "list":
        words = options.split(",")
        if not all(word.strip() for word in words):
            return "is a list without words, or with an empty one"
        return "" if default in words else f"has default {default!r}, which isn't one of its words"
    if kind == "boolean":
        return "" if default in ("", "YES", "NO") else f"has default {default!r}; a boolean's is YES or NO"
    if kind == "password":
        return "is a password with a default that everybody would share" if default else ""
    if kind in ("range", "range-float"):
        return _range_problem(options, default)
    if kind in ("number", "number-float") and default and not re.fullmatch(_NUMBER, default):
        return f"has default {default!r}, which is no number"
    return "is fixed without a value" if kind == "fixed" and not default else ""


def _range_problem(options: str, default: str) -> str:
    bounds = _RANGE.fullmatch(options)
    if bounds is None:
        return f"has range {options!r}, min..max is accepted"
    low, high = float(bounds[1]), float(bounds[2])
    if default and not re.fullmatch(_NUMBER, default):
        return f"has default {default!r}, which is no number"
    return f"has default {default}, out of its range" if default and not low <= float(default) <= high else ""
