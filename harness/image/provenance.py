"""Every part of an image with its hash and with who vouches for it: appliance/artifacts.yaml, or nobody yet.

What artifacts.yaml has no hash of is never downloaded on trust. Placed in the cache folder by hand it is
used, and its hash is written into the image's facts and its results as `unpinned`, where a release gate sees
it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.image.artifacts import Artifacts, Download, fetch, fetch_all, is_offline, load_artifacts
from harness.image.content_key import folder_inputs, folder_sha256
from harness.image.download import (
    DownloadSource,
    Expected,
    announced_size,
    fetch_file,
    local_sha256,
)
from harness.image.image_archive import read_archive
from harness.locations import downloads

_SUM_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})[ \t]+\*?(?P<file>\S+)")


@dataclass(frozen=True)
class Part:
    """A file or folder in the cache. `digest` is a file's sha256, an image's id or a folder's sha256;
    `pinned` says that artifacts.yaml vouches for it, `note` why it does not, and what to fill in there."""

    name: str
    path: Path
    digest: str
    pinned: bool
    note: str = ""

    @property
    def label(self) -> str:
        """The part as image facts and results name it."""
        return f"{self.path.name} sha256:{self.digest}"


def obtain_all(flavor: str, engine: str = "", *, names: Sequence[str] = ()) -> list[Part]:
    """The parts that an image of a flavor needs with this engine, or the named ones. Raises HarnessError for
    the first one that can't be had."""
    artifacts = load_artifacts()
    if not names:
        from harness.image.flavor import load_flavor, with_engine

        chosen = with_engine(load_flavor(flavor), engine)
        second = (artifacts.download(chosen.second_model.artifact),) if chosen.second_model else ()
        wanted = (*artifacts.for_flavor(flavor, chosen.engine), *second)
        _require_placed(wanted, artifacts)
        fetch_all(flavor, artifacts, chosen.engine)  # offline: says all that is missing
        names = [one.name for one in wanted if not one.optional or is_there(one)]
    return [obtain(name, artifacts) for name in names]


def _require_placed(wanted: Sequence[Download], artifacts: Artifacts) -> None:
    """Raise HarnessError naming all that can't be downloaded on trust and isn't there, before hours of
    downloads."""

    def can_be_had(one: Download) -> bool:
        if (one.is_vouched_for and not one.image) or one.optional or is_there(one):
            return True
        listing = artifacts.download(one.checksums) if one.checksums else None
        return listing is not None and (listing.is_vouched_for or is_there(listing))

    refused = {one.name: _not_trusted(one, one.expected.path) for one in wanted if not can_be_had(one)}
    if refused:
        raise HarnessError(
            "; ".join(why.message for why in refused.values()),
            hint="; ".join(f"{name}: {why.hint}" for name, why in refused.items()),
        )


def is_there(one: Download) -> bool:
    """True when somebody placed or fetched it."""
    return one.wanted.path.is_file() or folder_of(one).is_dir()


def obtain(name: str, artifacts: Artifacts) -> Part:
    """One part, downloaded only with a hash to verify it by. Raises HarnessError."""
    one = artifacts.download(name)
    if one.image:
        return _image(one)
    if one.is_vouched_for:
        return Part(name, fetch(name, artifacts), one.wanted.sha256, pinned=True)
    if one.checksums:
        checked = _by_checksums(one, artifacts)
        if checked is not None:
            return checked
    path = one.expected.path
    if not path.is_file():
        raise _not_trusted(one, path)
    digest = local_sha256(path)
    fill_in = f"size: {path.stat().st_size}, sha256: {digest}"
    return Part(
        name, path, digest, pinned=False, note=f"unpinned: placed by hand, {_to_fill_in(one, fill_in)}"
    )


def folder_of(one: Download) -> Path:
    """Where an unpacked image may lie instead of its archive."""
    return downloads() / one.expected.file.removesuffix(".tar")


def _by_checksums(one: Download, artifacts: Artifacts) -> Part | None:
    """The file as its list of sums has it; None where no list is there that may be believed."""
    sums = artifacts.download(one.checksums)
    if not sums.is_vouched_for and not sums.expected.path.is_file():
        return None
    listing = fetch(sums.name, artifacts) if sums.is_vouched_for else sums.expected.path
    sha256 = find_sum(listing, one.expected.file)
    path = one.expected.path
    if path.is_file():
        # cached() would say "artifacts.yaml": here it is the list that disagrees
        actual = local_sha256(path)
        if actual != sha256:
            raise HarnessError(
                f"{path} is not the file that {listing.name} lists: sha256 is {actual}, expected {sha256}",
                hint="place the right file, or the right list; neither was touched",
            )
    elif is_offline():
        raise HarnessError(f"SLM_OFFLINE is set and {path} is missing", hint=f"place it; from {one.origin}")
    else:
        source = DownloadSource(one.url)
        fetch_file(Expected(path.name, announced_size(source), sha256), lambda: source)
    if sums.is_vouched_for:
        return Part(one.name, path, sha256, pinned=True)
    fill_in = f"size: {path.stat().st_size}, sha256: {sha256}"
    return Part(
        one.name,
        path,
        sha256,
        pinned=False,
        note=f"unpinned: {listing.name} lists it, but was placed by hand too; {_to_fill_in(one, fill_in)}",
    )


def find_sum(listing: Path, file: str) -> str:
    """The sha256 that a list of sums (`HASH  FILE` lines) has for a file. Raises HarnessError when it has
    none, or two."""
    try:
        lines = listing.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{listing} can't be read as a list of sha256 sums: {error}") from error
    matches = (_SUM_LINE.fullmatch(line.strip()) for line in lines)
    found = {match["sha256"] for match in matches if match and match["file"] == file}
    if len(found) != 1:
        raise HarnessError(
            f"{listing} has {'no' if not found else 'more than one'} sha256 sum for {file}",
            hint="is it the list of that release?",
        )
    return found.pop()


def _image(one: Download) -> Part:
    path, folder = one.expected.path, folder_of(one)
    if path.is_file() and folder.is_dir():
        raise HarnessError(f"both {path} and {folder} are there", hint="move one of them away")
    if folder.is_dir():
        digest = folder_sha256(folder_inputs(folder, "backend"))
        note = "unpinned: a folder placed by hand; only an image archive can be pinned, by its image_id"
        return Part(one.name, folder, digest, pinned=False, note=note)
    if not path.is_file():
        raise _not_trusted(one, path)
    image_id = read_archive(path, tag=one.image.rpartition(":")[2]).image_id
    if one.image_id and image_id != one.image_id:
        raise HarnessError(
            f"{path} is not the image artifacts.yaml asks for: its id is sha256:{image_id}, "
            f"expected sha256:{one.image_id}",
            hint=f"place {one.image}, or move this one away; it was not touched",
        )
    if one.image_id:
        return Part(one.name, path, image_id, pinned=True)
    note = f"unpinned: placed by hand, {_to_fill_in(one, f'image_id: sha256:{image_id}')}"
    return Part(one.name, path, image_id, pinned=False, note=note)


def _to_fill_in(one: Download, fill_in: str) -> str:
    return f"compare it with its maker's and fill in appliance/artifacts.yaml, {one.name}: {fill_in}"


def _not_trusted(one: Download, path: Path) -> HarnessError:
    if one.image:
        how = (
            f"save it elsewhere (skopeo copy docker://{one.image} docker-archive:{path.name}, or docker "
            f"pull and docker save) and place it as {path}, or its files as the folder {folder_of(one)}"
        )
        return HarnessError(f"{one.name} is missing: {one.image} is not downloaded by this project", hint=how)
    listing = f", or place the release's {one.checksums} beside it" if one.checksums else ""
    return HarnessError(
        f"{one.name} is missing, and artifacts.yaml has no sha256 to verify a download by ({one.origin})",
        hint=f"place it as {path}, or fill in size and sha256{listing}",
    )
