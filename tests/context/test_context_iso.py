"""The context ISO, read back by tools that did not write it."""

import stat
import subprocess
from pathlib import Path

import pytest

from harness.context.iso import write_context_iso
from harness.errors import HarnessError
from tests.context import iso9660

CONTENT = {
    "context.sh": b"# Context variables\nA='\xc3\xbc\nx'\n",
    "token.txt": b"yCxieDUS7kra7Vn9ILA0+g==\n",
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_context_iso(CONTENT, tmp_path_factory.mktemp("iso") / "context.iso")


def test_blkid_finds_the_label_one_context_looks_for(image: Path) -> None:
    result = subprocess.run(
        ["blkid", "-p", "-o", "export", str(image)], capture_output=True, text=True, check=True
    )
    facts = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert (facts["LABEL"], facts["TYPE"]) == ("CONTEXT", "iso9660")


@pytest.mark.parametrize("joliet", [False, True], ids=["rock-ridge", "joliet"])
def test_both_name_extensions_carry_the_same_bytes(image: Path, joliet: bool) -> None:
    assert iso9660.volume_label(image, joliet=joliet) == "CONTEXT"
    assert iso9660.files(image, joliet=joliet) == CONTENT


def test_only_the_owner_may_read_it(image: Path) -> None:
    assert stat.S_IMODE(image.stat().st_mode) == 0o600


def test_nothing_is_left_beside_it_and_a_second_write_replaces(tmp_path: Path) -> None:
    target = tmp_path / "context.iso"
    write_context_iso(CONTENT, target)
    write_context_iso({"context.sh": b"new\n"}, target, label="SLM_STAGE")
    assert list(tmp_path.iterdir()) == [target]
    assert iso9660.files(target) == {"context.sh": b"new\n"}
    assert iso9660.volume_label(target) == "SLM_STAGE"


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"cannot write the context ISO .*: No such file or directory"):
        write_context_iso(CONTENT, tmp_path / "absent" / "context.iso")


def test_a_missing_xorriso_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match="xorriso is not installed") as caught:
        write_context_iso(CONTENT, tmp_path / "context.iso")
    assert caught.value.hint == "run `make setup`"


def test_xorriso_failing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"xorriso could not write the context ISO: ."):
        write_context_iso(CONTENT, tmp_path / "context.iso", label="X" * 40)
    assert list(tmp_path.iterdir()) == []
