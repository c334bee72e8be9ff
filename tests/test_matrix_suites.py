"""suites/cells.yaml names every suite there is, and a slip in it is told in one clear line."""

from pathlib import Path

import pytest

from harness.cli.test_endpoint import suites_at_endpoint
from harness.errors import HarnessError
from harness.matrix.choice import chosen_suites, not_by_default
from harness.matrix.suites import CELLS_FILE, SUITES_FOLDER, Share, Suite, load_suites

GOOD = """suites:
  tiny:
    cell: tls
    tls_modes: [selfsigned, custom]
    machine: asked
    minimum: 5
    seconds: 30
    later_modes: {minimum: 1, seconds: 3, checks: [test_one.py, "test_two.py::test_it"]}
"""
BOTH = """suites:
  tiny:
    cell: own
    tls_modes: [selfsigned]
    machine: both
    minimum: 5
    seconds: 30
    on_vm: {minimum: 2, seconds: 9}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "tiny").mkdir(exist_ok=True)
    (folder / "tiny" / "test_one.py").touch()
    (folder / "tiny" / "test_two.py").write_text("def test_it(machine): pass\n")
    path = folder / "cells.yaml"
    path.write_text(text)
    return path


def test_every_suite_of_the_house_has_its_cells() -> None:
    folders = {path.parent.name for path in SUITES_FOLDER.glob("*/test_*.py")}
    assert set(load_suites()) | set(suites_at_endpoint()) == folders


def test_a_suite_has_a_second_cell_exactly_when_it_has_checks_for_a_virtual_machine() -> None:
    for suite in load_suites().values():
        if suite.machine == "asked":
            continue
        marked = [path.name for path in suite.folder.glob("test_*.py") if "mark.vm" in path.read_text()]
        wanted = "both" if marked else "quick"
        told = ", ".join(marked) or "none"
        assert suite.machine == wanted, f"{suite.name}: files with checks marked vm: {told}"


def test_what_a_suite_wants_is_read(tmp_path: Path) -> None:
    assert load_suites(written(tmp_path, GOOD))["tiny"] == Suite(
        name="tiny",
        folder=tmp_path / "tiny",
        cell="tls",
        tls_modes=("selfsigned", "custom"),
        machine="asked",
        whole=Share(minimum=5, seconds=30),
        later_modes=Share(minimum=1, seconds=3, checks=("test_one.py", "test_two.py::test_it")),
    )
    assert load_suites(written(tmp_path, BOTH))["tiny"].on_vm == Share(minimum=2, seconds=9)
    hungry = load_suites(written(tmp_path, GOOD.replace("seconds: 30", "seconds: 30\n    cores: 3")))
    assert hungry["tiny"].whole == Share(minimum=5, seconds=30, cores=3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file: must be a mapping with suites"),
        ("suites: {}", "suites: must be a mapping from a folder of suites/"),
        ("suites: [", "is not valid YAML"),
        (
            GOOD.replace("tiny", "Tiny!"),
            "suite Tiny!: the name must be that of a Python folder in lower case",
        ),
        (GOOD.replace("tiny", "custom"), "suite custom: the name must be that of a Python folder"),
        (GOOD.replace("tiny", "lost"), "suite lost: there is no folder"),
        (GOOD.replace("    cell: tls\n", ""), "suite tiny: lacks cell"),
        (GOOD.replace("cell: tls", "cell: any"), "suite tiny, cell: must be one of tls, own, not 'any'"),
        (GOOD.replace("machine:", "machina:"), "suite tiny: lacks machine"),
        (GOOD.replace("asked", "vm"), "suite tiny, machine: must be one of asked, quick, both, not 'vm'"),
        (GOOD.replace("[selfsigned, custom]", "[]"), "tiny, tls_modes: must be a list of TLS modes out of"),
        (GOOD.replace("[selfsigned, custom]", "[none]"), "must be one of selfsigned, letsencrypt, custom"),
        (GOOD.replace("minimum: 5", "minimum: 0"), "minimum: must be a whole number from 1 to 100000, not 0"),
        (GOOD.replace("later_modes: {minimum: 1, ", "later_modes: {"), "tiny, later_modes: lacks minimum"),
        (GOOD.replace("test_one.py", "test_gone.py"), "checks: test_gone.py: there is no file"),
        (GOOD.replace("test_it", "test_is"), "checks: test_two.py::test_is: "),
        (
            GOOD.replace("[test_one.py", "[1"),
            "checks: must be a list of test_file.py or test_file.py::function",
        ),
        (BOTH.replace("both", "quick"), "suite tiny: on_vm belongs to machine: both, and to no other"),
        (GOOD.replace("asked", "both"), "suite tiny: on_vm belongs to machine: both, and to no other"),
        (GOOD + "  tiny: {}\n", "'tiny' is given twice"),
    ],
)
def test_a_slip_is_one_clear_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(HarnessError) as caught:
        load_suites(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert complaint in told
    assert "\n" not in told


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"cells\.yaml: cannot be read: No such file"):
        load_suites(tmp_path / "cells.yaml")


def test_suites_are_found_by_name_by_path_or_all_of_them(tmp_path: Path) -> None:
    known = load_suites(written(tmp_path, GOOD))
    assert chosen_suites((), known) == tuple(known.values())
    assert chosen_suites(["tiny"], known) == (known["tiny"],)
    (new,) = chosen_suites([f"{tmp_path}/tiny"], known)
    assert (new.name, new.folder, new.cell, new.whole.minimum) == ("tiny", tmp_path / "tiny", "tls", 0)


def test_an_unknown_suite_is_one_line_with_those_there_are() -> None:
    with pytest.raises(HarnessError, match="no suite 'conformanse'") as caught:
        chosen_suites(["conformanse"], load_suites())
    assert caught.value.hint.startswith("accepted are all, conformance, ")
    with pytest.raises(HarnessError, match="no suite '__pycache__'"):
        chosen_suites(["__pycache__"], load_suites())


def test_the_words_at_the_files_head_are_those_it_is_read_with() -> None:
    head = CELLS_FILE.read_text().partition("\nsuites:")[0]
    for word in (
        "cell",
        "tls_modes",
        "machine",
        "minimum",
        "seconds",
        "cores",
        "default",
        "later_modes",
        "on_vm",
    ):
        assert f"\n# {word} " in head, word


def test_a_run_has_by_default_what_the_file_says_and_with_all_everything(tmp_path: Path) -> None:
    more = BOTH.replace("seconds: 9", "seconds: 9, default: false")
    suites = load_suites(written(tmp_path, more))
    assert chosen_suites([], suites)[0].on_vm is None
    assert chosen_suites(["all"], suites)[0].on_vm is not None
    assert not_by_default(suites) == ["tiny on a virtual machine"]
    left_out = load_suites(written(tmp_path, GOOD.replace("seconds: 30", "seconds: 30\n    default: false")))
    assert chosen_suites([], left_out) == ()
    assert [one.name for one in chosen_suites(["tiny"], left_out)] == ["tiny"]
    assert not_by_default(left_out) == ["tiny"]
