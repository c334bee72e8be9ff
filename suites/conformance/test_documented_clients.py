"""The commands of docs/clients.md, run as they stand there: only names and paths are put in."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.client.https import ApplianceAddress
from harness.client.openai_sdk import MAJORS, interpreter
from harness.documents import code_blocks
from harness.locations import REPOSITORY
from harness.peers.private_ca import make_authority
from suites.conformance.trust_anchor import is_its_own_anchor

DOCUMENT = REPOSITORY / "docs" / "clients.md"
HOST, MODEL = "copilot.example.org", "MODEL"
NAME_OF_CLIENT = {"2": "DefaultHttpxClient", "3": "DefaultHttpx2Client"}
"""What the document says of major 2."""


@pytest.fixture
def home(tmp_path: Path, appliance: ApplianceAddress, tls_mode: str) -> Path:
    """A home folder as the document has the reader make it."""
    if appliance.server_name:
        pytest.skip("the commands look the name up, and this cell's is known to nobody")
    if tls_mode != "selfsigned" and is_its_own_anchor(appliance):
        pytest.skip("the pinned certificate was issued; the document wants its authority's")
    folder = tmp_path / ".config" / "slm-copilot"
    folder.mkdir(parents=True, mode=0o700)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(f"{appliance.password}\n", encoding="ascii")
    (tmp_path / "slm-copilot.pem").write_bytes(appliance.ca_file.read_bytes())
    return tmp_path


def documented(language: str, heading: str, appliance: ApplianceAddress) -> str:
    found = [one for one in code_blocks(DOCUMENT.read_text(encoding="utf-8")) if one.language == language]
    (block,) = [one for one in found if one.heading == heading]
    return block.text.replace(HOST, appliance.base_url.removeprefix("https://")).replace(
        MODEL, appliance.model
    )


def run(command: list[str], home: Path) -> str:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    ended = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, f"exit status {ended.returncode}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def test_curl_gets_an_answer(appliance: ApplianceAddress, home: Path) -> None:
    answer = json.loads(run(["bash", "-c", documented("bash", "curl", appliance)], home))
    assert answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize("major", MAJORS)
def test_openai_python_gets_an_answer(major: str, appliance: ApplianceAddress, home: Path) -> None:
    program = home / "program.py"

    text = documented("python", "openai-python", appliance)
    program.write_text(text.replace(NAME_OF_CLIENT["3"], NAME_OF_CLIENT[major]))
    assert run([str(interpreter(major)), "-I", str(program)], home).strip()


def test_a_certificate_nobody_trusts_is_refused(appliance: ApplianceAddress, home: Path) -> None:
    """Else the commands above would show nothing."""
    (home / "slm-copilot.pem").write_text(make_authority("somebody else's").pem, encoding="ascii")
    with pytest.raises(AssertionError, match="exit status 60"):
        run(["bash", "-c", documented("bash", "curl", appliance)], home)
