"""How the host reaches an appliance that is ready: what its report says of itself, and its certificate."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cell.tls_setting import TlsSetting
from harness.errors import ApplianceError, HarnessError
from harness.redaction import REDACTOR

if TYPE_CHECKING:
    from harness.client.https import ApplianceAddress
    from harness.machine.protocol import Machine

REPORT_FILE = "/etc/one-appliance/config"
CERTIFICATE_FILE = "/etc/ssl/slm-copilot/cert.pem"

Report = Mapping[str, Mapping[str, str]]


def read_report(machine: Machine) -> Report:
    """The guest's report file by section and key. The password in it is masked everywhere from now on.

    Raises ApplianceError when there is none, HarnessError when it is no INI file.
    """
    return parse_report(_read(machine, REPORT_FILE, "report"))


def parse_report(text: str) -> dict[str, dict[str, str]]:
    """The report file's sections. Registers the password with the redactor.

    Raises HarnessError (exit code 1) when it is no INI file; the text is not shown, for it holds a secret.
    """
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    try:
        parser.read_string(text)
    except configparser.Error as error:
        kind = type(error).__name__
        raise HarnessError(f"the guest's {REPORT_FILE} is no INI file ({kind})", exit_code=1) from None
    sections = {name: dict(parser[name]) for name in parser.sections()}
    password = sections.get("connection", {}).get("password", "")
    if password:
        REDACTOR.add(password, "admin password")
    return sections


def appliance_at(machine: Machine, report: Report, tls: TlsSetting, folder: Path) -> ApplianceAddress:
    """How to reach the appliance: verified with the root that its TLS mode has, else with the guest's own
    certificate, which is then kept in `folder`. Raises ApplianceError when it has none."""
    from harness.client.https import ApplianceAddress

    connection = report["connection"]
    https, http = machine.forward(443), machine.forward(80)
    return ApplianceAddress(
        base_url=f"https://{https.host}:{https.port}",
        ca_file=tls.trust or _fetch_certificate(machine, folder),
        username=connection["username"],
        password=connection["password"],
        http_url=f"http://{http.host}:{http.port}",
        model=connection["model"],
        server_name=tls.server_name,
    )


def _fetch_certificate(machine: Machine, folder: Path) -> Path:
    path = folder / "cert.pem"
    path.write_text(_read(machine, CERTIFICATE_FILE, "certificate"), encoding="ascii")
    return path


def _read(machine: Machine, file: str, what: str) -> str:
    result = machine.run(f"cat {file}")
    if result.exit_status != 0:
        raise ApplianceError(f"the guest has no {what} {file}: {result.stderr.strip()}")
    return result.stdout
