"""Runs of `slm test-image` with an image and a machine of cardboard, as a program of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.locations import REPOSITORY
from harness.results.model import Results, read_results

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """A finished `slm test-image`."""

    exit_status: int
    output: str
    folder: Path

    @property
    def results(self) -> Results:
        return read_results(self.folder / "results.json")

    @property
    def evidence(self) -> Path:
        return self.folder / "cells" / "ci-selfsigned"


@dataclass(frozen=True)
class Workshop:
    """Where runs are started: a folder with an image, a suite, and the reports."""

    folder: Path

    def start(self, suite: str, *options: str, machine: str = "ok", mark: str = "") -> subprocess.Popen[str]:
        suite_folder = self.folder / "suite"
        suite_folder.mkdir(exist_ok=True)
        (suite_folder / "test_auth.py").write_text(suite)
        (self.folder / "image.qcow2").write_text("cardboard")
        environment = os.environ | {
            "SLM_REPORTS": str(self.folder / "reports"),
            "SLM_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join(map(str, (HERE, REPOSITORY))),
            "PYTEST_PLUGINS": "fake_machine",
            "FAKE_MACHINE": machine,
            "FAKE_MARK": mark,
        }
        command = [HERE / "run_test_image.py", self.folder / "image.qcow2", suite_folder, *options]
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def finish(self, process: subprocess.Popen[str]) -> Run:
        output, _ = process.communicate(timeout=60)
        return Run(process.returncode, output, self.folder / "reports" / "latest")

    def run(self, suite: str, *options: str, machine: str = "ok") -> Run:
        return self.finish(self.start(suite, *options, machine=machine))


def processes_with(argument: str, *, but_not: int = 0) -> list[int]:
    """Ids of the processes with this text in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if argument.encode() in words and int(path.parent.name) not in (but_not, os.getpid()):
            found.append(int(path.parent.name))
    return found


def wait_for_line(workshop: Workshop, text: str, seconds: float = 30, *, cell: str = "*") -> None:
    """Until a check whose title has this text has begun in a cell (of this name)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for log in (workshop.folder / "reports").glob(f"*/cells/{cell}/tests.jsonl"):
            starts = [json.loads(line) for line in log.read_text().splitlines() if '"start"' in line]
            if any(text in one["title"] for one in starts):
                return
        time.sleep(0.05)
    raise AssertionError(f"no check called {text} has begun")
