"""YAML that people write: read strictly, each complaint naming file, place, problem and what is accepted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from harness.errors import HarnessError


def read_yaml(path: Path) -> Any:
    """The document of a YAML file. Raises HarnessError when it can't be read or gives a key twice."""
    try:
        # S506: the loader below is yaml's safe one, made stricter.
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506
    except OSError as error:
        raise HarnessError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise HarnessError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class Reader:
    """Typed access to what YAML gave us; every complaint names file and place."""

    path: Path

    def fail(self, where: str, problem: str) -> NoReturn:
        raise HarnessError(f"{self.path}: {where}: {problem}")

    def mapping(
        self,
        value: object,
        where: str,
        *,
        required: set[str],
        optional: frozenset[str] | set[str] = frozenset(),
    ) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.fail(where, f"must be a mapping with {listed(required)}")
        if missing := required - value.keys():
            self.fail(where, f"lacks {listed(missing)}")
        if unknown := {str(key) for key in value} - required - optional:
            self.fail(where, f"has unknown {listed(unknown)}; known are {listed(required | optional)}")
        return value

    def integer(self, fields: Mapping[str, Any], key: str, where: str, *, low: int, high: int) -> int:
        value = fields[key]
        # bool is an int to Python; `vcpus: yes` is a mistake to everybody else.
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(f"{where}, {key}", f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    def number(self, fields: Mapping[str, Any], key: str, where: str, *, low: float, high: float) -> float:
        value = fields[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(f"{where}, {key}", f"must be a number from {low:g} to {high:g}, not {value!r}")
        return float(value)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would silently take the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def listed(names: set[str] | frozenset[str]) -> str:
    """The names in alphabetical order, with commas."""
    return ", ".join(sorted(names))
