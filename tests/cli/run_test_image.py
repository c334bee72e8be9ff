"""`slm test-image` as a program of its own, with an image of cardboard: IMAGE SUITE_FOLDER [OPTION ...]."""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jinja2

from harness.cli import test_image
from harness.cli.main import main
from harness.locations import REPOSITORY

image = SimpleNamespace(
    path=Path(sys.argv[1]),
    sha256="ab" * 32,
    flavor="ci",
    engine="llama-server",
    base="fake-1",
    engine_version="1",
    model="small",
    unpinned=(),
)
# Compiling the report's template takes as long as half of such a run; pytest's cache folder keeps it.
compiled = REPOSITORY / ".pytest_cache" / "report-template"
compiled.mkdir(parents=True, exist_ok=True)
cache = jinja2.FileSystemBytecodeCache(str(compiled))
jinja2.Environment = partial(jinja2.Environment, bytecode_cache=cache)
test_image.get_image = lambda _request: image
suite = ["--machine", "nspawn", "--tls-modes", "selfsigned", "--suites", sys.argv[2]]
sys.exit(main(["test-image", *suite, *sys.argv[3:]]))
