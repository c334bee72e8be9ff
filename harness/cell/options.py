"""What a cell is run with: pytest's command line options, read once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from harness.errors import HarnessError
from harness.handed_secret import take_over
from harness.results.folder import new_run_folder, reports_root

if TYPE_CHECKING:
    from harness.machine.endpoint import Endpoint

MACHINES = ("qemu", "nspawn")
"""Those that boot an image; `endpoint` is one that runs already."""
ACCELERATORS = ("auto", "kvm", "tcg")
KEEP = ("never", "on-error")
TLS_MODES = ("selfsigned", "letsencrypt", "custom")
ENDPOINT_MODES = ("selfsigned", "issued")
"""What a certificate tells of the TLS mode it comes from."""


@dataclass(frozen=True)
class CellOptions:
    """One cell, as asked for on the command line. At an `endpoint` there is no image: Path() then."""

    profile: str
    tls_mode: str
    image: Path
    machine: str
    accelerator: str
    evidence: Path
    keep: Literal["never", "on-error"]
    endpoint: Endpoint | None = None

    @property
    def name(self) -> str:
        """The cell's name in reports."""
        return cell_name(self.profile, self.tls_mode)


def cell_name(profile: str, tls_mode: str) -> str:
    """The name of a cell, which is also its folder's."""
    return f"{profile}-{tls_mode}"


def add_options(parser: pytest.Parser) -> None:
    """The options that say which cell the suites run in; without --cell they don't run."""
    group = parser.getgroup("slm", "SLM-Copilot appliance")
    group.addoption("--cell", metavar="PROFILE:TLS_MODE", help="boot this cell and run the suites in it")
    group.addoption("--image", type=Path, metavar="PATH", help="the qcow2 image to judge")
    group.addoption("--machine", choices=(*MACHINES, "endpoint"), default="qemu", help="what to boot it with")
    group.addoption("--accelerator", choices=ACCELERATORS, default="auto", help="of --machine qemu")
    group.addoption("--evidence", type=Path, metavar="FOLDER", help="where records, logs and console go")
    group.addoption(
        "--keep", choices=KEEP, default="never", help="on-error: keep a failed machine up until Ctrl-C"
    )
    group.addoption("--endpoint", metavar="URL", help="of --machine endpoint: the appliance's https address")
    group.addoption("--endpoint-trust", type=Path, metavar="PEM", help="what verifies its certificate")
    group.addoption("--endpoint-password-fd", type=int, metavar="N", help="a pipe with its password")
    group.addoption("--endpoint-model", default="", metavar="NAME", help="the model it serves")


def cell_options(config: pytest.Config) -> CellOptions | None:
    """The cell asked for, None without --cell. Raises pytest.UsageError when the request makes no sense."""
    cell: str | None = config.getoption("--cell")
    if cell is None:
        return None
    profile, separator, tls_mode = cell.partition(":")
    at_endpoint = config.getoption("--machine") == "endpoint"
    modes = ENDPOINT_MODES if at_endpoint else TLS_MODES
    if not separator or not profile or tls_mode not in modes:
        raise pytest.UsageError(
            f"--cell {cell}: expected PROFILE:TLS_MODE with one of {', '.join(modes)}, e.g. ci:selfsigned"
        )
    image = Path() if at_endpoint else _image(config)
    evidence: Path | None = config.getoption("--evidence")
    if evidence is None:
        evidence = new_run_folder(reports_root()) / "cells" / cell_name(profile, tls_mode)
    evidence.mkdir(parents=True, exist_ok=True)
    return CellOptions(
        profile=profile,
        tls_mode=tls_mode,
        image=image,
        machine=config.getoption("--machine"),
        accelerator=config.getoption("--accelerator"),
        evidence=evidence.resolve(),
        keep=config.getoption("--keep"),
        endpoint=_endpoint(config, tls_mode) if at_endpoint else None,
    )


def _image(config: pytest.Config) -> Path:
    image: Path | None = config.getoption("--image")
    if image is None:
        raise pytest.UsageError("--cell needs --image PATH (the qcow2 that `make image` prints)")
    if not image.is_file():
        raise pytest.UsageError(f"--image {image}: no such file; build one with `make image`")
    return image.resolve()


def _endpoint(config: pytest.Config, tls_mode: str) -> Endpoint:
    from harness.machine.endpoint import Endpoint

    url, trust = config.getoption("--endpoint"), config.getoption("--endpoint-trust")
    descriptor = config.getoption("--endpoint-password-fd")
    if not url or trust is None or descriptor is None:
        raise pytest.UsageError("--machine endpoint is what `make test-endpoint URL=...` starts pytest with")
    try:
        password = take_over(descriptor, "admin password")
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    return Endpoint(url, trust, password, config.getoption("--endpoint-model"), tls_mode)
