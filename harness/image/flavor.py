"""Flavors: what is baked into an image, read from packer/flavors/<name>.yaml."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError
from harness.locations import REPOSITORY

FLAVORS_FOLDER = REPOSITORY / "packer" / "flavors"
ENGINES_FOLDER = REPOSITORY / "appliance" / "engines"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class SecondModel:
    """A second model of a flavor: a name in artifacts.yaml, and the names for the API and for people."""

    artifact: str
    id: str
    name: str

    @property
    def file(self) -> str:
        """Its file's name in the guest, by which the context names it."""
        return f"{self.id}.gguf"


@dataclass(frozen=True)
class Flavor:
    """One flavor on one of its bases. `model_artifact` is a name in artifacts.yaml, `provision` are scripts
    in their order. `model_tool_calls` names the way in which the model's template writes tool calls, where an
    engine has to be told ("" where not); the known ones are in appliance/engines/localai.yaml. `second_model`
    is None where nobody asked for one."""

    name: str
    base: str
    engine: str
    model_artifact: str
    model_id: str
    model_name: str
    provision: tuple[str, ...]
    model_tool_calls: str = ""
    second_model: SecondModel | None = None

    @property
    def packer_variables(self) -> Path:
        """The flavor's settings for Packer."""
        return FLAVORS_FOLDER / f"{self.name}.pkrvars.json"


def known_flavors(folder: Path = FLAVORS_FOLDER) -> tuple[str, ...]:
    """Names of the flavors there are."""
    return tuple(sorted(file.stem for file in folder.glob("*.yaml")))


def known_engines(folder: Path = ENGINES_FOLDER) -> tuple[str, ...]:
    """Names of the engines that the appliance has a file for."""
    return tuple(sorted(file.stem for file in folder.glob("*.sh")))


def with_engine(flavor: Flavor, engine: str) -> Flavor:
    """The flavor with another engine; its own where `engine` is "". Raises HarnessError for an unknown
    one."""
    if engine and engine not in known_engines():
        raise HarnessError(
            f"there is no engine '{engine}'", hint=f"known engines: {', '.join(known_engines())}"
        )
    return replace(flavor, engine=engine) if engine else flavor


def is_second_model_wanted() -> bool:
    """True when SLM_SECOND_MODEL asks for the flavor's second model in the image (1, true, yes or on)."""
    return os.environ.get("SLM_SECOND_MODEL", "").strip().lower() in {"1", "true", "yes", "on"}


def load_flavor(name: str, folder: Path = FLAVORS_FOLDER, *, base: str = "") -> Flavor:
    """Read a flavor, on its first base or on the one that is named.

    Raises HarnessError for a name that isn't known, a base it can't have, a file that isn't complete, or a
    second model that is asked for (SLM_SECOND_MODEL) and that it has none of.
    """
    path = folder / f"{name}.yaml"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise HarnessError(
            f"there is no flavor '{name}'", hint=f"known flavors: {', '.join(known_flavors(folder))}"
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        model, provision, bases = data["model"], data["provision"], data["bases"]
        for key, values in (("provision", provision), ("bases", bases)):
            if not isinstance(values, list) or not values:
                raise TypeError(f"{key} must be a list of names")
        if base and base not in bases:
            raise HarnessError(
                f"flavor {name} is not made on base '{base}'",
                hint=f"its bases: {', '.join(str(one) for one in bases)}",
            )
        return Flavor(
            name=name,
            base=base or str(bases[0]),
            engine=str(data["engine"]),
            model_artifact=str(model["artifact"]),
            model_id=str(model["id"]),
            model_name=str(model["name"]),
            provision=tuple(str(script) for script in provision),
            model_tool_calls=str(model.get("tool_calls", "")),
            second_model=_second_model(name, data.get("second_model")) if is_second_model_wanted() else None,
        )
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is not a flavor: {' '.join(str(error).split())}") from error


def _second_model(flavor: str, entry: Any) -> SecondModel:
    if entry is None:
        raise HarnessError(
            f"SLM_SECOND_MODEL is set, and flavor {flavor} has no second model",
            hint=f"unset it, or give packer/flavors/{flavor}.yaml a second_model as release.yaml has",
        )
    return SecondModel(artifact=str(entry["artifact"]), id=str(entry["id"]), name=str(entry["name"]))
