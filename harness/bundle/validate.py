"""Holds a release bundle against every rule of the marketplace that is known, before anyone uploads it.

The rules are read out of OpenNebula's community marketplace (its example, test library and continuous
integration), its marketplace driver and its CLI; docs/release.md lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from harness.bundle.declaration import NAME
from harness.bundle.listing import NOT_FOR_UPLOAD
from harness.bundle.sums import sums_problems
from harness.bundle.validate_contribution import contribution_problems
from harness.bundle.validate_listing import listing_problems
from harness.bundle.validate_release import release_problems
from harness.bundle.validate_yaml import yaml_problem
from harness.errors import HarnessError

UUID_FILE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.yaml")
TEXTS = (".yaml", ".md", ".json", ".txt", ".rb", ".sh", ".xml", ".sha256", ".md5", "")
OTHER_YAML = {"metadata.yaml", "tests.yaml", "context.yaml"}


def problems_of(folder: Path, *, upload: bool = False) -> list[str]:
    """Everything that is wrong with a bundle, each as one line; [] when nothing is. `upload`: it is meant to
    be uploaded, so that nothing in it may say otherwise.

    Raises HarnessError when the folder can't be read.
    """
    if not folder.is_dir():
        raise HarnessError(f"there is no bundle {folder}", hint="make release writes one")
    try:
        return list(dict.fromkeys(_problems(folder, upload=upload)))
    except OSError as error:
        raise HarnessError(f"can't read the bundle: {error.strerror}: {error.filename}") from None


def _problems(folder: Path, *, upload: bool) -> list[str]:
    appliances = folder / "marketplace" / "appliances"
    names = sorted(path.name for path in appliances.iterdir() if path.is_dir()) if appliances.is_dir() else []
    if len(names) != 1:
        return [f"marketplace/appliances has {len(names)} folders, one appliance is wanted"]
    if problems := list(_unreadable(folder)):
        return problems
    problems = [*sums_problems(folder)]
    name = names[0]
    if not NAME.fullmatch(name):
        problems.append(
            f"appliance name {name!r}: only lower-case letters and hyphens; the community's Makefile cuts it "
            "at a digit, its test handler at an underscore"
        )
    own = appliances / name
    documents: dict[str, Any] = {}
    for path in sorted(own.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if problem := yaml_problem(text):
            problems.append(f"{path.name}: {problem}")
            documents[path.name] = None
            continue
        try:
            documents[path.name] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            problems.append(f"{path.name}: {' '.join(str(error).split())}")
            documents[path.name] = None
    listings = [file for file in documents if file not in OTHER_YAML]
    if len(listings) != 1 or not UUID_FILE.fullmatch(listings[0]):
        problems.append(
            f"one file <uuid>.yaml in lower case is wanted, there is {', '.join(listings) or 'none'}"
        )
        return problems
    listing = documents[listings[0]]
    if not isinstance(listing, dict):
        return [*problems, f"{listings[0]}: is no mapping"]
    problems += [
        f"{listings[0]}: {one}" for one in listing_problems(listing, listings[0], name, upload=upload)
    ]
    problems += contribution_problems(own, name, listing, documents)
    problems += release_problems(folder, name, listing, upload=upload)
    return problems + _mark_problems(folder, listing, upload=upload)


def _unreadable(folder: Path) -> Iterator[str]:
    """What an upload would lose, and what can't be looked into."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_symlink():
            yield f"{name}: is a symbolic link"
        elif path.is_file():
            if path.suffix in TEXTS and not _is_text(path):
                yield f"{name}: is no UTF-8 text"
        elif not path.is_dir():
            yield f"{name}: is neither a file nor a folder"


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _mark_problems(folder: Path, listing: dict[str, Any], *, upload: bool) -> list[str]:
    """What isn't for upload says so everywhere, and what is says so nowhere."""
    notes = folder / "RELEASE-NOTES.md"
    tags = listing.get("tags")
    marks = {
        "the file NOT-FOR-UPLOAD.txt": (folder / "NOT-FOR-UPLOAD.txt").is_file(),
        "the tag not-for-upload": isinstance(tags, list) and NOT_FOR_UPLOAD in tags,
        "the name": "not for upload" in str(listing.get("name", "")).lower(),
        "the description": "not for upload" in str(listing.get("description", "")).lower(),
        "the release notes": notes.is_file() and "not for upload" in notes.read_text("utf-8").lower(),
    }
    marked = [what for what, there in marks.items() if there]
    if upload and marked:
        return [f"is marked as not for upload: by {', '.join(marked)}"]
    if marked and len(marked) < len(marks):
        missing = [what for what, there in marks.items() if not there]
        return [f"is marked as not for upload by {', '.join(marked)}, but not by {', '.join(missing)}"]
    return []
