"""gate.yaml: what an image of each flavor has to show, read and checked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.locations import REPOSITORY
from harness.matrix.suites import Share, Suite, load_suites
from harness.profiles import Profile, load_profiles
from harness.results.model import Label
from harness.strict_yaml import Reader, read_yaml

GATE_FILE = REPOSITORY / "gate.yaml"

PARTS = ("whole", "later_modes", "on_vm")
PLACES = ("qemu/kvm", "qemu/tcg", "nspawn/native")
MEASURED = "MEASURED"
VERDICTS = ("PASS", MEASURED)


@dataclass(frozen=True)
class CellRule:
    """A suite that must have passed in one profile and TLS mode. `places` are machine/accelerator; `minimum`
    is how many of its checks must have been executed; `files` are files of the suite of which at least one
    check must have been executed, because they tell the whole suite from a part of it."""

    suite: str
    part: str
    profile: str
    tls_mode: str
    places: tuple[str, ...]
    minimum: int
    files: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        """`conformance (later_modes), ci, custom`."""
        part = "" if self.part == "whole" else f" ({self.part})"
        return f"{self.suite}{part}, {self.profile}, {self.tls_mode}"


@dataclass(frozen=True)
class MetricRule:
    """A value that must have been measured in a cell of this suite and profile, and its accepted verdicts."""

    name: str
    suite: str
    profile: str
    verdicts: tuple[str, ...]
    labels: Mapping[str, Label] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """`decode_ratio (clock client), recommended`."""
        labels = ", ".join(f"{name} {value}" for name, value in self.labels.items())
        return f"{self.name}{f' ({labels})' if labels else ''}, {self.profile}"


@dataclass(frozen=True)
class _Known:
    """What the rules may name."""

    suites: Mapping[str, Suite]
    profiles: Mapping[str, Profile]


@dataclass(frozen=True)
class FlavorRules:
    """What an image of one flavor has to show; the words are those at the head of gate.yaml."""

    flavor: str
    upload: bool
    engines: tuple[str, ...]
    oldest_days: int
    passes_after_a_fail: int
    clean_commit: bool
    cells: tuple[CellRule, ...]
    metrics: tuple[MetricRule, ...]


def load_rules(path: Path = GATE_FILE) -> dict[str, FlavorRules]:
    """The rules by flavor. Raises HarnessError naming file, place, problem and what is accepted."""
    reader = Reader(path)
    top = reader.mapping(read_yaml(path), "the file", required={"flavors"})
    flavors = top["flavors"]
    if not isinstance(flavors, dict) or not flavors:
        reader.fail("flavors", "must be a mapping from a flavor to its rules, with one at least")
    known = _Known(load_suites(), load_profiles())
    return {str(name): _flavor(reader, str(name), entry, known) for name, entry in flavors.items()}


def _flavor(reader: Reader, name: str, entry: object, known: _Known) -> FlavorRules:
    where = f"flavor {name}"
    fields = reader.mapping(
        entry,
        where,
        required={
            "upload", "engines", "oldest_days", "passes_after_a_fail", "clean_commit", "cells", "metrics",
        },
    )  # fmt: skip
    cells = _cells(reader, fields["cells"], where, known)
    return FlavorRules(
        flavor=name,
        upload=_flag(reader, fields, "upload", where),
        engines=_words(reader, fields, "engines", where),
        oldest_days=reader.integer(fields, "oldest_days", where, low=1, high=365),
        passes_after_a_fail=reader.integer(fields, "passes_after_a_fail", where, low=1, high=10),
        clean_commit=_flag(reader, fields, "clean_commit", where),
        cells=cells,
        metrics=_metrics(reader, fields["metrics"], where, cells),
    )


def _cells(reader: Reader, value: object, where: str, known: _Known) -> tuple[CellRule, ...]:
    if not isinstance(value, list) or not value:
        reader.fail(f"{where}, cells", "must be a list with one at least: without a cell anything would pass")
    rules = [
        rule
        for number, entry in enumerate(value, 1)
        for rule in _cell(reader, entry, f"{where}, cells, line {number}", known)
    ]
    titles = [rule.title for rule in rules]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        reader.fail(f"{where}, cells", f"{twice[0]} is asked for twice")
    return tuple(rules)


def _cell(reader: Reader, entry: object, where: str, known: _Known) -> list[CellRule]:
    fields = reader.mapping(entry, where, required={"suite", "part", "profiles", "tls_modes", "places"})
    suite = known.suites.get(str(fields["suite"]))
    if suite is None:
        reader.fail(f"{where}, suite", f"must be one of {', '.join(known.suites)}, not {fields['suite']!r}")
    part = fields["part"]
    share = _share(suite, part)
    if share is None:
        has = [name for name in PARTS if _share(suite, name) is not None]
        reader.fail(f"{where}, part", f"must be one of {', '.join(has)} for {suite.name}, not {part!r}")
    modes = _words(reader, fields, "tls_modes", where, suite.tls_modes)
    places = _words(reader, fields, "places", where, PLACES)
    profiles = _words(reader, fields, "profiles", where, tuple(known.profiles))
    return [
        CellRule(suite.name, part, profile, mode, places, share.minimum, telling_files(suite, part))
        for profile, mode in itertools.product(profiles, modes)
    ]


def _share(suite: Suite, part: object) -> Share | None:
    shares = {"whole": suite.whole, "later_modes": suite.later_modes, "on_vm": suite.on_vm}
    return shares.get(str(part))


def telling_files(suite: Suite, part: str) -> frozenset[str]:
    """The files of a suite that run only where it is whole: those that its later modes don't name."""
    if part != "whole" or suite.later_modes is None:
        return frozenset()
    later = {check.partition("::")[0] for check in suite.later_modes.checks}
    return frozenset(file.name for file in suite.folder.glob("test_*.py") if file.name not in later)


def _metrics(
    reader: Reader, value: object, where: str, cells: tuple[CellRule, ...]
) -> tuple[MetricRule, ...]:
    if not isinstance(value, list):
        reader.fail(f"{where}, metrics", "must be a list")
    rules = []
    for number, entry in enumerate(value, 1):
        here = f"{where}, metrics, line {number}"
        fields = reader.mapping(
            entry, here, required={"name", "suite", "profile", "verdicts"}, optional={"labels"}
        )
        labels = fields.get("labels", {})
        if not isinstance(labels, dict) or not all(
            isinstance(one, str | int | float) for one in labels.values()
        ):
            reader.fail(f"{here}, labels", "must be a mapping from a label to its value")
        rule = MetricRule(
            name=str(fields["name"]),
            suite=str(fields["suite"]),
            profile=str(fields["profile"]),
            verdicts=_words(reader, fields, "verdicts", here, VERDICTS),
            labels={str(name): one for name, one in labels.items()},
        )
        if not any((cell.suite, cell.profile) == (rule.suite, rule.profile) for cell in cells):
            reader.fail(here, f"no cell of suite {rule.suite} in profile {rule.profile} is asked for")
        rules.append(rule)
    return tuple(rules)


def _flag(reader: Reader, fields: Mapping[str, Any], key: str, where: str) -> bool:
    value = fields[key]
    if not isinstance(value, bool):
        reader.fail(f"{where}, {key}", f"must be true or false, not {value!r}")
    return value


def _words(
    reader: Reader,
    fields: Mapping[str, Any],
    key: str,
    where: str,
    accepted: tuple[str, ...] = (),
) -> tuple[str, ...]:
    value = fields[key]
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        reader.fail(f"{where}, {key}", "must be a list of words with one at least")
    for one in value:
        if accepted and one not in accepted:
            reader.fail(f"{where}, {key}", f"must be out of {', '.join(accepted)}, not {one!r}")
    return tuple(value)
