"""What a cell is run with: pytest's command line options, read once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from harness.results.folder import new_run_folder, reports_root

MACHINES = ("qemu", "nspawn")
ACCELERATORS = ("auto", "kvm", "tcg")
KEEP = ("never", "on-error")
TLS_MODES = ("selfsigned", "letsencrypt", "custom")


@dataclass(frozen=True)
class CellOptions:
    """One cell, as asked for on the command line."""

    profile: str
    tls_mode: str
    image: Path
    machine: str
    accelerator: str
    evidence: Path
    keep: Literal["never", "on-error"]

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
    group.addoption("--machine", choices=MACHINES, default="qemu", help="what to boot it with")
    group.addoption("--accelerator", choices=ACCELERATORS, default="auto", help="of --machine qemu")
    group.addoption("--evidence", type=Path, metavar="FOLDER", help="where records, logs and console go")
    group.addoption(
        "--keep", choices=KEEP, default="never", help="on-error: keep a failed machine up until Ctrl-C"
    )


def cell_options(config: pytest.Config) -> CellOptions | None:
    """The cell asked for, None without --cell. Raises pytest.UsageError when the request makes no sense."""
    cell: str | None = config.getoption("--cell")
    if cell is None:
        return None
    profile, separator, tls_mode = cell.partition(":")
    if not separator or not profile or tls_mode not in TLS_MODES:
        raise pytest.UsageError(
            f"--cell {cell}: expected PROFILE:TLS_MODE with one of {', '.join(TLS_MODES)}, e.g. ci:selfsigned"
        )
    image: Path | None = config.getoption("--image")
    if image is None:
        raise pytest.UsageError("--cell needs --image PATH (the qcow2 that `make image` prints)")
    if not image.is_file():
        raise pytest.UsageError(f"--image {image}: no such file; build one with `make image`")
    evidence: Path | None = config.getoption("--evidence")
    if evidence is None:
        evidence = new_run_folder(reports_root()) / "cells" / cell_name(profile, tls_mode)
    evidence.mkdir(parents=True, exist_ok=True)
    return CellOptions(
        profile=profile,
        tls_mode=tls_mode,
        image=image.resolve(),
        machine=config.getoption("--machine"),
        accelerator=config.getoption("--accelerator"),
        evidence=evidence.resolve(),
        keep=config.getoption("--keep"),
    )
