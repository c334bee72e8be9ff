"""Puts a release bundle together: all of it, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.bundle.declaration import MARKETPLACE, load_declaration
from harness.bundle.disk import release_image
from harness.bundle.documents import changelog, description, readme, release_notes, section_of
from harness.bundle.image_contents import APPLIANCE_SCRIPT, read_contents
from harness.bundle.listing import (
    NOT_FOR_UPLOAD,
    SPEC_FILE,
    context_yaml,
    listing_yaml,
    metadata_yaml,
    tests_yaml,
)
from harness.bundle.logo import PNG, logo_problem
from harness.bundle.product import Contents, Product, ReleasedImage
from harness.bundle.sbom import Materials, sbom_json
from harness.bundle.sums import write_sums
from harness.bundle.validate import problems_of
from harness.bundle.whole_folder import whole_folder
from harness.errors import HarnessError
from harness.gate.evidence import Run
from harness.gate.judge import Answer
from harness.gate.subject import Subject
from harness.image.content_key import file_sha256
from harness.locking import exclusive
from harness.parameters import load_parameters
from harness.results.publish import RESULTS_FILE
from harness.results.seal import JUNIT_FILE
from harness.terminal import step

MARK_FILE = "NOT-FOR-UPLOAD.txt"


@dataclass(frozen=True)
class Sources:
    """Where the parts of a bundle that aren't text come from; tests give their own."""

    read_contents: Callable[[Subject, Path], Contents]
    release_image: Callable[[Path, Path], ReleasedImage]


def make_bundle(answer: Answer, output: Path, sources: Sources | None = None) -> Path:
    """The folder of a finished bundle below `output`; one of the same name is replaced when the new one is
    whole. Raises HarnessError without a PASS, and for whatever keeps the bundle from being right; nothing of
    it is left then."""
    if answer.verdict != "PASS" or answer.rules is None:
        raise HarnessError(
            f"no release without a PASS: the gate says {answer.verdict}",
            hint="make gate tells every reason",
            exit_code=1 if answer.verdict == "FAIL" else 3,
        )
    subject = answer.subject
    if subject.built is None:
        raise HarnessError(
            f"{subject.image.path} doesn't tell when it was built", hint="build it again: make image"
        )
    sources = sources or Sources(read_contents, release_image)
    declaration = load_declaration(subject.image.flavor)
    upload = answer.rules.upload
    name = bundle_name(declaration.name, subject, upload=upload)
    with exclusive("bundle", "another release"), whole_folder(output, name) as work:
        file = f"{declaration.name}-{'' if upload else f'{subject.image.flavor}-'}{subject.version}.qcow2"
        with step("Read what is in the image"):
            contents = sources.read_contents(subject, work)
        image = sources.release_image(subject.image.path, work / file)
        with step("Look at the judged image again"):
            _require_unchanged(subject)
        product = Product(
            declaration, subject, contents, image, load_parameters(), subject.built, upload=upload
        )
        with step("Write the bundle"):
            _write_texts(work, product, answer)
        with step("Validate the bundle"):
            if problems := problems_of(work, upload=upload):
                raise HarnessError(
                    f"the bundle breaks {len(problems)} rules of the marketplace: {'; '.join(problems[:5])}",
                    hint="what is declared stands in marketplace/appliance.yaml; the rest is a defect",
                )
    return output / name


def _require_unchanged(subject: Subject) -> None:
    if file_sha256(subject.image.path) != subject.sha256:
        raise HarnessError(
            f"{subject.image.path} changed while the bundle was made of it", hint="ask the gate again"
        )


def bundle_name(appliance: str, subject: Subject, *, upload: bool) -> str:
    """The folder's name tells what must not be uploaded."""
    if upload:
        return f"{appliance}-{subject.version}"
    return f"{appliance}-{subject.image.flavor}-{subject.version}-{NOT_FOR_UPLOAD}"


def _write_texts(work: Path, product: Product, answer: Answer) -> None:
    declared = product.declaration
    if problem := logo_problem():
        raise HarnessError(f"the logo: {problem}", hint="python -m harness.bundle.logo --write")
    appliance = work / "marketplace" / "appliances" / declared.name
    changes = changelog(product)
    texts = {
        appliance / f"{declared.uuid}.yaml": listing_yaml(product, description(product)),
        appliance / "metadata.yaml": metadata_yaml(product),
        appliance / "tests.yaml": tests_yaml(product),
        appliance / "context.yaml": context_yaml(product),
        appliance / "README.md": readme(product),
        appliance / "CHANGELOG.md": changes,
        work / f"{product.image_name}.cdx.json": sbom_json(materials_of(product)),
        work / "RELEASE-NOTES.md": release_notes(product, answer, section_of(changes, product.version)),
        work / f"{product.image.file}.sha256": f"{product.image.sha256}  {product.image.file}\n",
        work / f"{product.image.file}.md5": f"{product.image.md5}  {product.image.file}\n",
    }
    if not product.upload:
        texts[work / MARK_FILE] = (
            f"This bundle holds an image of flavor {product.subject.image.flavor}. "
            "It shows that a bundle can be made; nobody uploads it.\n"
        )
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    spec = SPEC_FILE.format(name=declared.name)
    _copy(MARKETPLACE / spec, appliance / "tests" / spec)
    _copy(APPLIANCE_SCRIPT, appliance / "appliance.sh")
    _copy(PNG, work / "marketplace" / "logos" / f"{declared.name}.png")
    for run in answer.believed:
        for name in (RESULTS_FILE, JUNIT_FILE):
            _copy(run.path.parent / name, work / "evidence" / evidence_name(run) / name)
    write_sums(work)


def evidence_name(run: Run) -> str:
    """The folder of a run's results in the bundle: its start, and the beginning of its seal."""
    seal = run.results.seal.sha256[:8] if run.results.seal else "unsealed"
    return f"{run.results.started.replace(':', '')}-{seal}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def materials_of(product: Product) -> Materials:
    """What the bill of materials tells."""
    subject, contents, image = product.subject, product.contents, product.image
    return Materials(
        title=product.declaration.title,
        version=product.version,
        image_file=image.file,
        image_sha256=image.sha256,
        built=product.built,
        os_id=contents.os_id,
        os_version=contents.os_version,
        engine=subject.image.engine,
        engine_version=subject.image.engine_version,
        model_file=subject.model_file,
        model_sha256=contents.model_sha256,
        parts=subject.parts or (),
        packages=contents.packages,
    )
