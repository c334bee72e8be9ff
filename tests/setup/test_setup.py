"""setup/setup.sh with stubs for programs that change the host: what it finds missing, installs, says."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.locations import REPOSITORY

SETUP = REPOSITORY / "setup" / "setup.sh"
PACKAGES = REPOSITORY / "setup" / "packages.tsv"

Shell = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str
    calls: list[str]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run bash lines after sourcing setup.sh with a project and stub programs of the test's own.

    `stubs` maps a program to its body; each call of it is a line of `calls`.
    """

    def run(lines: str, *, stubs: dict[str, str] | None = None, packages: str = "") -> Answer:
        programs, calls, project = tmp_path / "bin", tmp_path / "calls", tmp_path / "project"
        (project / "setup").mkdir(parents=True, exist_ok=True)
        programs.mkdir(exist_ok=True)
        calls.write_text("")
        (project / "setup" / "packages.tsv").write_text(packages)
        for name, body in (stubs or {}).items():
            (programs / name).write_text(f'#!/bin/bash\necho "{name} $*" >>{calls}\n{body}\n')
            (programs / name).chmod(0o755)
        script = (
            f"source {shlex.quote(str(SETUP))}\n"
            'eval "real_$(declare -f needs_go)"; needs_go() { false; }\n'
            f"PROJECT={shlex.quote(str(project))}; PACKAGES_TSV=$PROJECT/setup/packages.tsv\n"
            f"POLICY={shlex.quote(str(tmp_path / 'policy-rc.d'))}\n{lines}"
        )
        answer = subprocess.run(
            ["bash", "-c", script],
            env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return Answer(answer.returncode, answer.stdout, answer.stderr, calls.read_text().splitlines())

    return run


TWO_MISSING = """# a comment
no-such-program-a\tpackage-a
/no/such/file\tpackage-b
bash\tbash
/etc/passwd\tbase-files
"""
AS_ROOT = 'as_root() { "$@"; }\nmay_install() { :; }\n'


def test_every_line_of_the_list_is_a_wanted_thing_and_a_package() -> None:
    for line in PACKAGES.read_text().splitlines():
        if line and not line.startswith("#"):
            wanted, package = line.split("\t")
            assert wanted
            assert package == package.strip().lower()


def test_missing_programs_and_files_are_found_by_their_packages(shell: Shell) -> None:
    assert shell("missing_packages", packages=TWO_MISSING).out.split() == ["package-a", "package-b"]


def test_a_python_too_old_is_missing(shell: Shell) -> None:
    names = [f"python3{minor}" for minor in ("", ".11", ".12", ".13", ".14")]
    answer = shell("missing_packages", stubs=dict.fromkeys(names, "exit 1"))
    assert answer.out.split() == ["python3-venv"]


@pytest.mark.parametrize(
    ("offered", "needed"), [("2:1.19~1", 1), ("2:1.21~2", 0), ("2:1.24~1", 0), ("(none)", 1), ("2:1.3", 1)]
)
def test_go_is_wanted_where_the_distributions_is_new_enough(shell: Shell, offered: str, needed: int) -> None:
    stubs = {"apt-cache": f"printf 'golang-go:\\n  Installed: (none)\\n  Candidate: {offered}\\n'"}
    missing = "is_there() { [[ $1 == apt-cache ]]; }\n"
    assert shell(f"{missing}real_needs_go", stubs=stubs).status == needed
    assert shell("is_there() { true; }\nreal_needs_go", stubs=stubs).status == 1


def test_packages_are_named_updated_and_installed_without_a_service_ever_starting(
    shell: Shell, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    answer = shell(
        f"{AS_ROOT}install_packages nginx-light package-a",
        stubs={
            "apt-get": f'[[ $* == *update* ]] || "{policy}" || echo "policy $?" >>"{tmp_path}/seen"',
            "systemctl": "",
        },
    )
    assert answer.status == 0, answer.err
    assert answer.out == "setup: installing system packages: nginx-light package-a\n"
    update, install, disable = answer.calls
    assert update.endswith("update")
    assert install.endswith("install --yes --no-install-recommends nginx-light package-a")
    assert disable == "systemctl disable nginx.service"
    assert (tmp_path / "seen").read_text() == "policy 101\n"  # what tells invoke-rc.d to start nothing
    assert not policy.exists()


def test_the_hosts_own_service_policy_stays(shell: Shell, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    shell(f"{AS_ROOT}install_packages package-a", stubs={"apt-get": ""})
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


@pytest.mark.parametrize("step", ["update", "install"])
def test_a_failing_apt_is_one_line_and_leaves_no_policy(shell: Shell, tmp_path: Path, step: str) -> None:
    stubs = {"apt-get": f'[[ $* != *" {step}"* ]]'}
    answer = shell(f"{AS_ROOT}install_packages package-a", stubs=stubs)
    assert answer.status == 2
    assert answer.err.startswith("error: setup: apt-get")
    assert len(answer.err.splitlines()) == 2
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_package_that_brought_nothing_is_told(shell: Shell) -> None:
    answer = shell(
        f"{AS_ROOT}provide_packages", stubs={"apt-get": ""}, packages="no-such-program-a\tpackage-a\n"
    )
    assert answer.status == 2
    assert "still missing after apt-get: package-a" in answer.err


def test_nothing_missing_calls_nothing_and_says_nothing(shell: Shell) -> None:
    answer = shell("provide_packages", stubs={"apt-get": "", "sudo": ""}, packages="bash\tbash\n")
    assert answer == Answer(0, "", "", [])


def test_a_user_without_sudo_is_told_the_command(shell: Shell) -> None:
    # EUID is read-only in bash, so the function runs with the words that test it replaced.
    body = 'eval "$(declare -f may_install | sed "s/EUID == 0/0 == 1/; s/command -v sudo/false/")"\n'
    answer = shell(f"{body}may_install package-a package-b", stubs={"apt-get": ""})
    assert answer.status == 2
    assert answer.err.splitlines() == [
        "error: setup: missing here: package-a package-b",
        "hint: as root: apt-get install --no-install-recommends package-a package-b",
    ]
    answer = shell(f"{body}CI=true\nmay_install package-a || echo skipped", stubs={"apt-get": ""})
    assert answer.status == 0
    assert "SKIPPED, this CI job is not root and has no sudo: apt-get install package-a" in answer.out


def test_a_host_without_apt_is_told(shell: Shell) -> None:
    body = 'eval "$(declare -f may_install | sed "s/command -v apt-get/false/")"\n'
    answer = shell(f"{body}may_install package-a")
    assert answer.status == 2
    assert "neither Debian nor Ubuntu" in answer.err


# A python3 that makes "environments" of a stub, so that no test waits for pip.
FAKE_PYTHON = """
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *pip*) [[ -z ${FAKE_PIP_FAILS:-} ]] ;;
  -c*) echo "3.11 /usr" ;;
  --version) echo "Python 3.11.0" ;;
esac
"""
ENVIRONMENT = "provide_environment .venv-x req.txt 'some packages' --requirement req.txt\n"


def test_an_environment_is_made_once_and_renewed_when_its_requirements_change(shell: Shell) -> None:
    stubs = {"python3": FAKE_PYTHON}
    answer = shell(f'echo a >"$PROJECT/req.txt"\n{ENVIRONMENT}', stubs=stubs)
    assert answer.status == 0, answer.err
    assert answer.out.splitlines() == [
        "setup: making .venv-x with Python 3.11.0",
        "setup: installing some packages into .venv-x",
    ]
    again = shell(ENVIRONMENT, stubs=stubs)
    assert again.out == ""
    assert not any("pip" in call for call in again.calls)
    renewed = shell(f'echo b >"$PROJECT/req.txt"\n{ENVIRONMENT}', stubs=stubs)
    assert renewed.out == "setup: installing some packages into .venv-x\n"


def test_a_failed_pip_is_told_and_tried_again_next_time(shell: Shell) -> None:
    stubs = {"python3": FAKE_PYTHON}
    failed = shell(f'echo a >"$PROJECT/req.txt"\nexport FAKE_PIP_FAILS=1\n{ENVIRONMENT}', stubs=stubs)
    assert failed.status == 2
    assert "error: setup: pip could not install some packages" in failed.err
    assert "setup: installing some packages" in shell(ENVIRONMENT, stubs=stubs).out


def test_packer_that_cant_be_had_is_told_and_not_fatal(shell: Shell) -> None:
    python = "#!/bin/sh\\necho told >&2; exit 2\\n"
    body = f'mkdir -p "$PROJECT/.venv/bin"\nprintf {shlex.quote(python)} >"$PROJECT/.venv/bin/python"\n'
    answer = shell(f'{body}chmod +x "$PROJECT/.venv/bin/python"\nprovide_packer')
    assert answer.status == 0
    assert answer.err == "told\n"
    assert "an image can't be built until then" in answer.out


def test_an_unknown_argument_is_refused() -> None:
    answer = subprocess.run([SETUP, "--chekc"], capture_output=True, text=True, timeout=20, check=False)
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == [
        "error: setup: unknown argument '--chekc'",
        "hint: usage: setup/setup.sh [--check]",
    ]
