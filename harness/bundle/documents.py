"""The bundle's texts for people: description, README, CHANGELOG, release notes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2

from harness.bundle.declaration import MARKETPLACE
from harness.bundle.disk import NEEDS
from harness.bundle.product import Product
from harness.errors import HarnessError
from harness.gate.evidence import Run
from harness.gate.judge import Answer
from harness.gate.table import answer_markdown
from harness.locations import REPOSITORY
from harness.parameters import render_markdown_table
from harness.profiles import load_profiles
from harness.results.machine_label import machine_label
from harness.results.model import Cell, Metric
from harness.results.quantity import target, with_interval

CHANGELOG = REPOSITORY / "CHANGELOG.md"
UNRELEASED = "Unreleased"

SHOWN_PACKAGES = ("nginx", "certbot", "openssl")
"""Debian packages whose versions people look for."""

_SECTION = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?[ \t]*$", re.MULTILINE)


def description(product: Product) -> str:
    """The Markdown of the marketplace's entry."""
    return _render("description.md.j2", product)


def readme(product: Product) -> str:
    """The appliance's README in the marketplace."""
    wanted = [one for one in product.contents.packages if one.name in SHOWN_PACKAGES]
    return _render(
        "README.md.j2",
        product,
        description=description(product),
        profiles=list(load_profiles().values()),
        packages=wanted,
        parameters=render_markdown_table(product.parameters).rstrip("\n"),
    )


def release_notes(product: Product, answer: Answer, changes: str) -> str:
    """What is released, what it has shown, how fast it is, what changed."""
    shown = list(_metrics(answer, product.declaration.notes_metrics))
    return _render(
        "RELEASE-NOTES.md.j2",
        product,
        gate="\n".join(answer_markdown(answer)),
        runs=answer.believed,
        unasked=answer.unasked,
        metrics="\n".join(_metric_table(shown)) if shown else "",
        emulated=any(cell.accelerator == "tcg" for _, cell, _ in shown),
        changes=changes,
    )


def changelog(product: Product, path: Path = CHANGELOG) -> str:
    """The project's CHANGELOG as one of this release: what is unreleased there becomes this version, dated as
    the image, unless the version has a section already. Raises HarnessError when it has neither."""
    text = _read(path)
    sections = {match[1]: match for match in _SECTION.finditer(text)}
    if product.version in sections:
        return _without(text, UNRELEASED)
    if UNRELEASED not in sections:
        raise HarnessError(
            f"{path} has a section neither for {product.version} nor for {UNRELEASED}",
            hint=f"write one: ## [{product.version}] - {product.built:%Y-%m-%d}",
        )
    match = sections[UNRELEASED]
    heading = f"## [{product.version}] - {product.built:%Y-%m-%d}"
    return text[: match.start()] + heading + text[match.end() :]


def section_of(text: str, version: str) -> str:
    """What a changelog says of a version, without its heading; "" when it says nothing."""
    found = list(_SECTION.finditer(text))
    for place, match in enumerate(found):
        if match[1] == version:
            end = found[place + 1].start() if place + 1 < len(found) else len(text)
            return text[match.end() : end].strip()
    return ""


def _without(text: str, version: str) -> str:
    found = list(_SECTION.finditer(text))
    for place, match in enumerate(found):
        if match[1] == version:
            end = found[place + 1].start() if place + 1 < len(found) else len(text)
            return text[: match.start()] + text[end:]
    return text


def _metrics(answer: Answer, names: Sequence[str]) -> Iterator[tuple[Run, Cell, Metric]]:
    """The measurements of these names: of each the newest run's that has it, in the order of the names."""
    for name in names:
        told: set[str] = set()
        for run in sorted(answer.believed, key=lambda one: one.started, reverse=True):
            here = [
                (cell, metric) for cell in run.results.cells for metric in cell.metrics if metric.name == name
            ]
            for cell, metric in here:
                key = f"{cell.profile} {metric.title}"
                if key not in told:
                    yield run, cell, metric
            told |= {f"{cell.profile} {metric.title}" for cell, metric in here}


def _metric_table(shown: Sequence[tuple[Run, Cell, Metric]]) -> Iterator[str]:
    yield "| metric | value (95 % interval) | n | target | verdict | profile | on | run |"
    yield "|---|---|--:|---|---|---|---|---|"
    for run, cell, metric in shown:
        verdict = "" if metric.target is None else metric.verdict or ""
        cells = (
            metric.title, with_interval(metric), str(metric.n or ""), target(metric), verdict, cell.profile,
            machine_label(cell), run.results.started,
        )  # fmt: skip
        yield "| " + " | ".join(" ".join(one.split()).replace("|", "\\|") for one in cells) + " |"


def _render(name: str, product: Product, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(MARKETPLACE),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  (Markdown, not HTML)
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    text = environment.get_template(name).render(
        product=product,
        declared=product.declaration,
        profile=product.declaration.profile,
        contents=product.contents,
        released=product.image,
        image=product.subject.image,
        needs=NEEDS,
        **values,
    )
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise HarnessError(f"can't read {path}: {error.strerror}") from None
