"""Hardware profiles (profiles.yaml): the size of a guest and the speed it is held to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.locations import REPOSITORY
from harness.strict_yaml import Reader, read_yaml

PROFILES_FILE = REPOSITORY / "profiles.yaml"


@dataclass(frozen=True)
class Targets:
    """What a profile promises: single-stream decode speed of `model`, in tokens per second."""

    model: str
    decode_min: float
    decode_max: float


@dataclass(frozen=True)
class Profile:
    """The hardware of a guest. `targets` is None where speed is measured but never judged."""

    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int
    targets: Targets | None = None


def load_profiles(path: Path | None = None) -> dict[str, Profile]:
    """Read and check the profiles, in the order of the file (the repository's profiles.yaml by default).

    Raises HarnessError naming the file, the profile, the key, its problem and what is accepted.
    """
    path = path or PROFILES_FILE
    document = read_yaml(path)
    reader = Reader(path)
    top = reader.mapping(document, "the file", required={"profiles"})
    entries = top["profiles"]
    if not isinstance(entries, dict) or not entries:
        reader.fail("profiles", "must be a mapping from a name to its hardware, with at least one entry")
    return {str(name): _profile(reader, name, entry) for name, entry in entries.items()}


def render_sizing_table(profiles: Iterable[Profile]) -> str:
    """What each profile is and promises, as GitHub Markdown; those without targets are left out."""
    rows = ["| profile | vCPUs | memory | disk | tokens a second, single stream |", "|---|--:|--:|--:|---|"]
    for profile in profiles:
        if profile.targets is not None:
            speed = f"{profile.targets.decode_min:g} to {profile.targets.decode_max:g}"
            sizes = f"{profile.vcpus} | {profile.ram_mib / 1024:g} GiB | {profile.disk_gib} GiB"
            rows.append(f"| {profile.name} | {sizes} | {speed}, {profile.targets.model} |")
    return "\n".join(rows) + "\n"


def find_profile(name: str, path: Path | None = None) -> Profile:
    """The profile called `name`; raises HarnessError listing the known ones."""
    profiles = load_profiles(path)
    if name not in profiles:
        raise HarnessError(
            f"unknown profile {name!r}", hint=f"profiles.yaml has: {', '.join(profiles)} (add yours there)"
        )
    return profiles[name]


def _profile(reader: Reader, name: object, entry: object) -> Profile:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
        reader.fail(f"profile {name!r}", "the name must be lower-case letters, digits and '-', up to 32")
    where = f"profile {name}"
    fields = reader.mapping(entry, where, required={"vcpus", "ram_gib", "disk_gib"}, optional={"targets"})
    ram_gib = reader.number(fields, "ram_gib", where, low=0.25, high=4096)
    return Profile(
        name=name,
        vcpus=reader.integer(fields, "vcpus", where, low=1, high=512),
        ram_mib=round(ram_gib * 1024),
        disk_gib=reader.integer(fields, "disk_gib", where, low=1, high=65536),
        targets=_targets(reader, fields["targets"], f"{where}, targets") if "targets" in fields else None,
    )


def _targets(reader: Reader, entry: object, where: str) -> Targets:
    fields = reader.mapping(entry, where, required={"model", "decode_tokens_per_s"})
    if not isinstance(fields["model"], str) or not fields["model"].strip():
        reader.fail(f"{where}, model", "must name the model the targets were set for")
    speed = reader.mapping(fields["decode_tokens_per_s"], where, required={"min", "max"})
    low = reader.number(speed, "min", where, low=0.01, high=100_000)
    high = reader.number(speed, "max", where, low=0.01, high=100_000)
    if low > high:
        reader.fail(where, f"min ({low:g}) must not be above max ({high:g})")
    return Targets(model=fields["model"].strip(), decode_min=low, decode_max=high)
