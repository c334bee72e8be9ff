"""The certification spec in a real Ruby with a real RSpec, against the interface of the community's library.

tests/bundle/community stands in for that library: the same constants, shared context and VM methods; the VM
is a shell with the functions of guest.sh. Each example is seen to pass on a good guest and to fail on a bad
one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent / "community"


@dataclass(frozen=True)
class Outcome:
    """Titles of the examples by what became of them, and the messages of the failed ones."""

    passed: list[str]
    failed: dict[str, str]


def certify(bundle: Path, folder: Path, guest: str) -> Outcome:
    """The community's runner: rspec on the specs that tests.yaml names, in their repository's layout."""
    shutil.copytree(bundle / "marketplace", folder, dirs_exist_ok=True)
    library = folder / "lib" / "community"
    library.mkdir(parents=True)
    shutil.copy(HERE / "app_handler.rb", library)
    own = folder / "appliances" / "slm-copilot"
    params = yaml.safe_load((own / "metadata.yaml").read_text())[":app"][":context"][":params"]
    specs = [str(own / "tests" / name) for name in yaml.safe_load((own / "tests.yaml").read_text())]
    answer = subprocess.run(
        ["rspec", "-f", "json", *specs],
        cwd=library,
        env=os.environ
        | {
            "GUEST": guest,
            "GUEST_PASSWORD": params[":SLM_ADMIN_PASSWORD"],
            "GUEST_SSH": str(HERE / "guest_ssh"),
            "SLM_CERTIFICATION_WAIT_S": "0",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.stdout.startswith("{"), answer.stderr
    examples = json.loads(answer.stdout)["examples"]
    return Outcome(
        [one["description"] for one in examples if one["status"] == "passed"],
        {one["description"]: one["exception"]["message"] for one in examples if one["status"] == "failed"},
    )


@pytest.fixture(scope="module")
def good(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return certify(bundle, tmp_path_factory.mktemp("community"), "good")


def test_every_example_passes_on_a_good_guest(good: Outcome) -> None:
    assert good.failed == {}
    assert len(good.passed) >= 15


def test_every_example_fails_on_a_bad_guest(good: Outcome, bundle: Path, tmp_path: Path) -> None:
    bad = certify(bundle, tmp_path, "bad")
    assert bad.passed == []
    assert list(bad.failed) == good.passed
    assert "not within 0 s" in bad.failed["says in its message of the day that it is ready to serve"]


def test_an_appliance_that_has_failed_is_told_at_once(bundle: Path, tmp_path: Path) -> None:
    failed = certify(bundle, tmp_path, "failed")
    said = failed.failed["says in its message of the day that it is ready to serve"]
    assert "the appliance failed:  2/3 Configuration step failed." in said
