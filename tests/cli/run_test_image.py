"""`slm test-image` as a program of its own, with an image of cardboard: IMAGE SUITE_FOLDER [OPTION ...]."""

import sys
from pathlib import Path
from types import SimpleNamespace

from harness.cli import test_image
from harness.cli.main import main

image = SimpleNamespace(
    path=Path(sys.argv[1]),
    sha256="ab" * 32,
    flavor="ci",
    engine="llama-server",
    engine_version="1",
    model="small",
)
test_image.get_image = lambda _request: image
suite = ["--machine", "nspawn", "--tls-modes", "selfsigned", "--suites", sys.argv[2]]
sys.exit(main(["test-image", *suite, *sys.argv[3:]]))
