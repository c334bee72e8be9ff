"""Where the tree of each engine comes from: the one list of engines that the harness can put into an
image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.image.artifacts import Artifacts
from harness.image.engine import build_engine, engine_key, engine_version
from harness.image.flavor import Flavor
from harness.image.localai_tree import build_localai, localai_key, localai_parts, told_to
from harness.image.localai_tree import localai_version as version_of_localai
from harness.image.provenance import Part


@dataclass(frozen=True)
class EngineSource:
    """`key` is the tree's content key, `build` makes it or finds it in the cache, `parts` are the files it is
    made of where artifacts.yaml may not have their hashes, `check` raises HarnessError for a flavor that
    can't have this engine."""

    key: Callable[[Artifacts], str]
    build: Callable[[Artifacts], Path]
    parts: Callable[[Artifacts], tuple[Part, ...]]
    check: Callable[[Flavor, Artifacts], None]


def engine_source(name: str) -> EngineSource:
    """The source of an engine. Raises HarnessError naming the known ones."""
    if name not in SOURCES:
        raise HarnessError(
            f"no image can be built with the engine '{name}'", hint=f"known engines: {', '.join(SOURCES)}"
        )
    return SOURCES[name]


def _localai_check(flavor: Flavor, artifacts: Artifacts) -> None:
    known = told_to(version_of_localai(artifacts)).known_tool_calls
    if flavor.model_tool_calls and flavor.model_tool_calls not in known:
        raise HarnessError(
            f"flavor {flavor.name}: LocalAI knows no tool calls '{flavor.model_tool_calls}'",
            hint=f"known in appliance/engines/localai.yaml: {', '.join(known)}",
        )


SOURCES: Mapping[str, EngineSource] = {
    "llama-server": EngineSource(engine_key, build_engine, lambda _: (), lambda _flavor, _: None),
    "localai": EngineSource(localai_key, build_localai, localai_parts, _localai_check),
}

__all__ = ["SOURCES", "EngineSource", "engine_source", "engine_version"]
