"""Where a package registry keeps a file: asked through the user's own pip settings; no host is named here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple

from harness.errors import HarnessError
from harness.image.download import DownloadSource, without_credentials

_HINT = "check the network and your pip settings (pip config list), or place the file in the cache by hand"

_TIMEOUT_S = (15.0, 60.0)
"""Seconds to connect and seconds between two bytes of the registry's answer."""


def package_address(package: str, file: str) -> DownloadSource:
    """The address of `file` of `package` (PROJECT==VERSION). Raises HarnessError when it isn't there."""
    project = package.split("==", 1)[0]
    settings = pip_settings()
    index = settings.get("index-url") or PYPI_SIMPLE_ENDPOINT
    certificates = settings.get("cert", "")
    try:
        with PyPISimple(endpoint=index) as registry:
            if certificates:
                registry.s.verify = certificates
            page = registry.get_project_page(project, timeout=_TIMEOUT_S)
    except NoSuchProjectError as error:
        raise HarnessError(f"the package registry has no project {project}", hint=_HINT) from error
    except Exception as error:  # requests' and urllib3's many classes; the user needs one line
        reason = without_credentials(" ".join(str(error).split()))
        raise HarnessError(
            f"the package registry could not be asked for {package}: {reason}", hint=_HINT
        ) from error
    for one in page.packages:
        if one.filename == file:
            return DownloadSource(one.url, certificates)
    raise HarnessError(f"the package registry has no file {file} of {package}", hint=_HINT)


def pip_settings() -> dict[str, str]:
    """pip's own index-url and cert, as its configuration files and environment give them.

    The environment wins over the section for `pip download`, then `pip install`'s, then the global one.
    """
    found: dict[str, str] = {}
    try:
        listing = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        listing = ""
    for section in ("global", "install", "download"):
        for line in listing.splitlines():
            name, _, value = line.partition("=")
            key = name.removeprefix(f"{section}.")
            if key != name and key in {"index-url", "cert"}:
                found[key] = value.strip().strip("'\"")
    for key, variable in (("index-url", "PIP_INDEX_URL"), ("cert", "PIP_CERT")):
        if os.environ.get(variable):
            found[key] = os.environ[variable]
    if "cert" in found and not Path(found["cert"]).exists():
        raise HarnessError(
            f"pip's certificate file {found['cert']} does not exist", hint="correct pip's setting `cert`"
        )
    return found
