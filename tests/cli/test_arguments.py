"""The command line's grammar, and what users see of their own mistakes."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import main as cli
from harness.cli.arguments import parser
from harness.cli.main import main
from harness.errors import ApplianceError, HarnessError
from harness.locations import REPOSITORY
from harness.redaction import REDACTOR


@pytest.fixture(autouse=True)
def _signal_handlers_are_put_back() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_the_defaults_of_the_main_job() -> None:
    arguments = parser().parse_args(["test-image", "--image", "", "--tests", ""])
    assert arguments.image is None
    assert arguments.profiles == ("ci",)
    assert arguments.tls_modes == ("selfsigned", "letsencrypt", "custom")
    assert arguments.machine == "qemu"
    assert arguments.suites == ()  # what suites/cells.yaml has by default
    assert arguments.cells == ()
    assert arguments.jobs is None
    assert arguments.keep == "never"
    assert arguments.minimum_checks is None


def test_lists_take_commas_and_spaces_and_drop_repetitions() -> None:
    arguments = parser().parse_args(["test-image", "--profiles", "ci, minimum  ci", "--minimum-checks", "7"])
    assert arguments.profiles == ("ci", "minimum")
    assert arguments.minimum_checks == 7


def test_all_and_auto_are_what_makes_defaults_say() -> None:
    words = ["--tls-modes", "all", "--suites", "", "--cells", "", "--jobs", "auto"]
    assert parser().parse_args(["test-image", *words]) == parser().parse_args(["test-image"])
    assert parser().parse_args(["test-image", "--jobs", "3"]).jobs == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["test-image", "--tls-modes", "none"], "'none' is none of selfsigned, letsencrypt, custom"),
        (["test-image", "--profiles", " , "], "needs at least one name"),
        (["test-image", "--machine", "vmware"], "invalid choice: 'vmware'"),
        (
            ["test-image", "--tls-modes", "selfsigned,none"],
            "'none' is none of selfsigned, letsencrypt, custom",
        ),
        (["test-image", "--jobs", "many"], "'many' is not a whole number of at least 1"),
        (["test-image", "--minimum-checks", "0"], "'0' is not a whole number of at least 1"),
        (["test-image", "--prof", "ci"], "unrecognized arguments"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_usage_is_exit_2(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: slm {command}")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (HarnessError("no disk", hint="free some"), 2),
        (ApplianceError("the guest panicked"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_faults_become_exit_codes_without_a_traceback(
    raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_arguments: object) -> int:
        raise raised

    monkeypatch.setitem(cli.COMMANDS, "engine", fail)
    monkeypatch.setattr(cli, "end_leftovers", lambda _before: [])
    assert main(["engine"]) == code
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "Traceback" not in printed


def test_a_secret_in_a_fault_is_masked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    REDACTOR.add("PasswordOfTheFault", "test password")

    def fail(_arguments: object) -> int:
        raise HarnessError("refused PasswordOfTheFault")

    monkeypatch.setitem(cli.COMMANDS, "engine", fail)
    assert main(["engine"]) == 2
    assert capsys.readouterr().err == "error: refused [redacted: test password]\n"


def test_a_report_without_results_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "results.json")]) == 2
    assert capsys.readouterr().err.startswith(f"error: no results at {tmp_path}")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--suites", "nonsense"], "no suite 'nonsense'", "accepted are all, conformance, "),
        (["--profiles", "nonsense"], "unknown profile 'nonsense'", "profiles.yaml has: "),
        (["--cells", "ci-none"], "no cell ci-none in this run", "it has: ci-selfsigned, ci-letsencrypt"),
        (
            ["--suites", "powercut", "--tls-modes", "custom"],
            "no cell for powercut in TLS mode custom",
            "powercut runs in TLS mode selfsigned only",
        ),
        (
            ["--tests", "suites/x/test_y.py"],
            "TESTS=suites/x/test_y.py names no check of ci-selfsigned",
            "name",
        ),
        (["--tests", "'test_a.py"], "TESTS='test_a.py can't be split into node ids", ""),
    ],
)
def test_a_wrong_request_is_one_line_before_any_work(
    options: list[str],
    message: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SLM_REPORTS", str(tmp_path / "reports"))
    assert main(["test-image", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"error: {message}")
    assert [line.startswith(f"hint: {hint}") for line in lines[1:]] == [True] * bool(hint)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("target", "for_slm_alone"),
    [
        ("test-image", {"--minimum-checks"}),
        ("test-endpoint", set[str]()),
        ("bench", set[str]()),
        ("size-host", {"--minutes", "--keep"}),
    ],
)
def test_every_option_has_a_make_variable(target: str, for_slm_alone: set[str]) -> None:
    """What people type is make; an option without a variable would be out of their reach."""
    makefile = (REPOSITORY / "Makefile").read_text()
    recipe = re.search(rf"^{target}:.*?\n\t.*?\n\n", makefile, re.MULTILINE | re.DOTALL)
    assert recipe is not None
    given = set(re.findall(r"(--[a-z-]+) \"\$\$", recipe[0]))
    help_text = next(
        action.choices[target].format_help()  # type: ignore[index,call-overload]
        for action in parser()._subparsers._group_actions  # type: ignore[union-attr]
    )
    known = set(re.findall(r"^  (--[a-z-]+)", help_text, re.MULTILINE))
    assert known - given == for_slm_alone
    exported = re.search(r"^export (.*)$", makefile, re.MULTILINE)
    assert exported is not None
    used = set(re.findall(r"\"\$\$([A-Z_]+)\"", makefile))
    assert used <= set(exported[1].split())
