"""Puts a release bundle together: all of it, or nothing."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.bundle.debian_packages import installed_packages
from harness.bundle.declaration import MARKETPLACE, load_declaration
from harness.bundle.disk import release_image
from harness.bundle.documents import changelog, description, readme, release_notes, section_of
from harness.bundle.guest_files import copy_tree, file_sha256, read_file
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
from harness.errors import HarnessError
from harness.gate.evidence import Run
from harness.gate.judge import Answer
from harness.gate.subject import Subject
from harness.locations import REPOSITORY
from harness.locking import exclusive
from harness.machine.root_disk import RootDisk, root_disk
from harness.parameters import load_parameters
from harness.results.publish import RESULTS_FILE
from harness.results.seal import JUNIT_FILE
from harness.terminal import step

MAKING_PREFIX = ".making-"
MARK_FILE = "NOT-FOR-UPLOAD.txt"
APPLIANCE_SCRIPT = REPOSITORY / "appliance" / "appliance.sh"

OS_RELEASE = "/usr/lib/os-release"
FLAVOR_ENV = "/opt/slm-copilot/flavor.env"
MODELS = "/opt/slm-copilot/models"


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
    with exclusive("bundle", "another release"), _whole(output, name) as work:
        file = f"{declaration.name}-{'' if upload else f'{subject.image.flavor}-'}{subject.version}.qcow2"
        with step("Read what is in the image"):
            contents = sources.read_contents(subject, work)
        image = sources.release_image(subject.image.path, work / file)
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


def bundle_name(appliance: str, subject: Subject, *, upload: bool) -> str:
    """The folder's name tells what must not be uploaded."""
    if upload:
        return f"{appliance}-{subject.version}"
    return f"{appliance}-{subject.image.flavor}-{subject.version}-{NOT_FOR_UPLOAD}"


@contextmanager
def _whole(output: Path, name: str) -> Iterator[Path]:
    """A folder that becomes `output`/`name` when the block ends well and is removed when it doesn't. What a
    killed run left is swept."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        for left in output.glob(f"{MAKING_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=MAKING_PREFIX, dir=output))
    except OSError as error:
        raise HarnessError(f"can't make a bundle in {output}: {error.strerror}") from None
    try:
        yield work
        work.chmod(0o755)
        final, old = output / name, output / f"{MAKING_PREFIX}replaced-{work.name[-8:]}"
        if final.exists():
            final.rename(old)
        work.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise HarnessError(f"the bundle can't be written: {error.strerror}: {error.filename}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


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


def read_contents(subject: Subject, work: Path) -> Contents:
    """What the image itself tells, held against the papers beside it.

    Raises HarnessError when they contradict each other, or the model in it isn't the pinned file.
    """
    disk = root_disk(subject.image.path)
    system = _settings(read_file(disk, OS_RELEASE))
    baked_in = _settings(read_file(disk, FLAVOR_ENV))
    _require_papers(subject, baked_in)
    doc = copy_tree(disk, "/usr/share/doc", _folder(work / ".guest"))
    status = read_file(disk, "/var/lib/dpkg/status").decode("utf-8", errors="replace")
    packages = installed_packages(status, doc)
    shutil.rmtree(work / ".guest")
    return Contents(
        os_id=system.get("ID", ""),
        os_name=system.get("NAME", "").split(" ")[0],
        os_version=system.get("VERSION_ID", ""),
        packages=packages,
        model_name=baked_in.get("SLM_MODEL_NAME", subject.image.model),
        model_licence=baked_in.get("SLM_MODEL_LICENSE", ""),
        model_sha256=_model_sha256(disk, subject),
    )


def _require_papers(subject: Subject, baked_in: dict[str, str]) -> None:
    image = subject.image
    for name, said in (
        ("SLM_FLAVOR", image.flavor),
        ("SLM_ENGINE", image.engine),
        ("SLM_ENGINE_VERSION", image.engine_version),
        ("SLM_MODEL_ID", image.model),
        ("SLM_VERSION", subject.version),
    ):
        if baked_in.get(name) != said:
            raise HarnessError(
                f"{image.path} has {name}={baked_in.get(name, '')} in it, its image.json says {said}",
                hint="the papers beside the image are of another one",
            )


def _model_sha256(disk: RootDisk, subject: Subject) -> str:
    found = file_sha256(disk, f"{MODELS}/{subject.model_file}")
    pinned = [part for part in subject.parts or () if part.role == "model"]
    if not any(part.sha256 == found for part in pinned):
        raise HarnessError(
            f"the model {subject.model_file} in the image (sha256 {found}) is none that was pinned",
            hint=f"pinned: {', '.join(part.sha256 for part in pinned) or 'none'}",
        )
    return found


def _settings(content: bytes) -> dict[str, str]:
    """NAME=value lines as shells and os-release(5) quote them."""
    settings = {}
    for line in content.decode("utf-8", errors="replace").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings[name] = "".join(shlex.split(value))
    return settings


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
