"""The stand-in for one-apps' service.sh in a folder: all absolute paths it names lie below that folder.

ONE_APPLIANCE=FOLDER runs the same tests with one-apps' own files instead: FOLDER holds `service` and lib/, as
/etc/one-appliance does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

APPLIANCE_FOLDER = Path(__file__).resolve().parents[2] / "appliance"
STANDIN = APPLIANCE_FOLDER / "standin"

GENUINE = os.environ.get("ONE_APPLIANCE", "")
SERVICE_FOLDER = Path(GENUINE).absolute() if GENUINE else STANDIN / "one-appliance"

in_own_words = pytest.mark.skipif(bool(GENUINE), reason="one-apps says the same in other words")


@dataclass(frozen=True)
class Service:
    """`service` below `root`, and what it left there."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "etc/one-appliance"

    @property
    def pipe(self) -> Path:
        return self.root / "var/log/one-appliance/one_service_log.pipe"

    @property
    def pid_file(self) -> Path:
        return self.root / "var/run/one-appliance-service.pid"

    @property
    def status(self) -> str | None:
        path = self.home / "status"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def set_status(self, status: str) -> None:
        if status:
            (self.home / "status").write_text(f"{status}\n", encoding="utf-8")

    @property
    def motd(self) -> str:
        return (self.root / "etc/motd").read_text(encoding="utf-8")

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    def run(self, *arguments: str, body: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "CALLS": f"{self.root}/calls",
            "BODY": body,
            **variables,
        }
        return subprocess.run(
            ["bash", self.home / "service", *arguments],
            env={**environment, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=20,
            umask=0o022,
            check=False,
        )


def install_service(root: Path, appliance: str) -> Service:
    """Put `service`, its library and this appliance.sh below an existing folder."""
    made = Service(root)
    shutil.copytree(SERVICE_FOLDER, made.home)
    for path in (made.home / "service", *(made.home / "lib").iterdir()):
        path.write_text(relocate(path.read_text(encoding="utf-8"), root), encoding="utf-8")
    # One-apps' starts itself again, under flock.
    (made.home / "service").chmod(0o755)
    script = made.home / "service.d/appliance.sh"
    script.parent.mkdir(exist_ok=True)
    script.write_text(appliance, encoding="utf-8")
    (root / "var/run").mkdir(parents=True)
    (root / "bin").mkdir()
    return made


def relocate(text: str, root: Path) -> str:
    """A script's text with its absolute paths below `root`."""
    return re.sub(r"(?<![\w}/.*])/(?=(?:etc|opt|var|run|context|sys|dev/disk)(?:/|\b))", f"{root}/", text)
