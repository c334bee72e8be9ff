"""Which Packer and which plugin are taken, when they are built, and what is told where neither works.

Programs are stubs in PATH; what they were called with is read back from a file they write.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.image import packer_tools
from harness.image.artifacts import load_artifacts
from harness.image.packer_tools import MODULES, PLUGIN_SOURCE, packer_binary, parse_version, plugin_folder
from harness.locations import GIB
from harness.terminal import Step

Program = Callable[[str, str], Path]

GO = """
case "$1" in
  env) printf '%s\\n%s\\n' "${FAKE_GO_VERSION:-go1.26.8}" "${FAKE_TOOLCHAIN:-local}" ;;
  build)
    printf '%s\\n' "$*" >>"$CALLS"
    [ -z "${FAKE_GO_FAILS:-}" ] || { echo "go: $FAKE_GO_FAILS" >&2; exit 1; }
    while [ "$1" != -o ]; do shift; done
    cat >"$2" <<'PACKER'
#!/bin/sh
case "$1" in
  version) echo "Packer v1.15.1" ;;
  plugins)
    folder="$PACKER_PLUGIN_PATH/github.com/hashicorp/qemu"
    mkdir -p "$folder"
    cp "$4" "$folder/packer-plugin-qemu_v1.1.4_x5.0_linux_amd64"
    sha256sum <"$4" | cut -d' ' -f1 >"$folder/packer-plugin-qemu_v1.1.4_x5.0_linux_amd64_SHA256SUM" ;;
esac
PACKER
    chmod +x "$2" ;;
esac
"""


@pytest.fixture(autouse=True)
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with neither Packer, plugin nor Go; the file that stubs write their arguments to."""
    programs = tmp_path / "bin"
    programs.mkdir()
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{_without('packer', 'go')}")
    monkeypatch.setenv("SLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CALLS", str(calls))
    for name in ("PACKER_PLUGIN_PATH", "PACKER_CONFIG_DIR", "SLM_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return calls


STEP = Step("Packer", 0)


def _without(*programs: str) -> str:
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(
        folder for folder in folders if not any((Path(folder) / name).exists() for name in programs)
    )


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def write(name: str, body: str) -> Path:
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write


def place_plugin(folder: Path, version: str, *, content: bytes = b"plugin", sha256: str = "") -> None:
    place = folder.joinpath(*PLUGIN_SOURCE.split("/"))
    place.mkdir(parents=True)
    binary = place / f"packer-plugin-qemu_v{version}_x5.0_linux_amd64"
    binary.write_bytes(content)
    sums = sha256 or hashlib.sha256(content).hexdigest()
    binary.with_name(f"{binary.name}_SHA256SUM").write_text(sums)


def test_a_new_enough_packer_in_path_is_taken(program: Program) -> None:
    found = program("packer", "echo 'Packer v1.15.0'; echo 'out of date, newest is 9.9.9'")
    assert packer_binary() == found


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("echo 'Packer v1.6.6'", id="too-old"),
        pytest.param("echo 'Packer v1.14.99'", id="just-too-old"),
        pytest.param("cat >/dev/null; echo '21471 words 1.99'", id="cracklib"),
        pytest.param("exit 1", id="broken"),
    ],
)
def test_another_packer_is_not_taken_but_built(program: Program, body: str, calls: Path) -> None:
    program("packer", body)
    program("go", GO)
    assert packer_binary().parent.parent.name == "tools"
    assert len(calls.read_text().splitlines()) == 1


def test_a_built_packer_is_built_once_and_again_when_its_module_changes(
    program: Program, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", GO)
    modules = tmp_path / "modules"
    (modules / "packer").mkdir(parents=True)
    (modules / "packer" / "go.mod").write_text("module x\n\ngo 1.25.8\n")
    (modules / "packer" / "go.sum").write_text("a\n")
    monkeypatch.setattr(packer_tools, "MODULES", modules)
    first = packer_binary()
    assert packer_binary() == first
    assert len(calls.read_text().splitlines()) == 1
    (modules / "packer" / "go.sum").write_text("b\n")
    assert packer_binary() != first
    assert len(calls.read_text().splitlines()) == 2
    assert {path.name for path in modules.rglob("*") if path.is_file()} == {"go.mod", "go.sum"}


def test_checksums_stay_on_and_the_module_stays_as_committed(program: Program, calls: Path) -> None:
    program("go", GO)
    packer_binary()
    command = calls.read_text()
    assert "-mod=mod" not in command
    assert "github.com/hashicorp/packer" in command
    text = Path(packer_tools.__file__).read_text()
    for switch in ("GONOSUMDB", "GONOSUMCHECK", "GOFLAGS=-insecure", "GOSUMDB", "GOINSECURE", "GOPRIVATE"):
        assert switch not in text


def test_without_go_one_line_says_what_to_install() -> None:
    with pytest.raises(
        HarnessError, match=r"^packer >= 1\.15\.0 is not installed, and no Go to build it$"
    ) as caught:
        packer_binary()
    assert "Packer >= 1.15.0" in caught.value.hint
    assert "Go >= 1.25.8" in caught.value.hint


def test_an_old_go_is_named_with_the_version_needed(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", GO)
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.19.8")
    monkeypatch.setenv("FAKE_TOOLCHAIN", "")
    with pytest.raises(HarnessError, match=r"Go go1\.19\.8 is too old to build it: 1\.25\.8 is needed"):
        packer_binary()


def test_a_go_that_fetches_newer_ones_by_itself_will_do(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", GO)
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.22.2")
    monkeypatch.setenv("FAKE_TOOLCHAIN", "auto")
    assert packer_binary().is_file()


def test_a_failed_build_is_one_line_and_leaves_no_program(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", GO)
    monkeypatch.setenv("FAKE_GO_FAILS", "module not available")
    with pytest.raises(HarnessError, match=r"could not be built: .*module not available") as caught:
        packer_binary()
    assert "\n" not in caught.value.message
    assert [path.name for path in (tmp_path / "cache" / "tools").iterdir()] == ["packer.log"]


def test_offline_nothing_is_built(program: Program, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("go", GO)
    monkeypatch.setenv("SLM_OFFLINE", "1")
    with pytest.raises(HarnessError, match="SLM_OFFLINE"):
        packer_binary()
    assert calls.read_text() == ""


def test_a_full_disk_is_told_before_building(
    program: Program, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", GO)
    real = os.statvfs

    def nearly_full(path: str) -> os.statvfs_result:
        fields = list(real(path))
        fields[0] = fields[1] = 4096
        fields[4] = GIB // 4096
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    with pytest.raises(HarnessError, match=r"not enough disk space for building packer"):
        packer_binary()
    assert calls.read_text() == ""


@pytest.mark.parametrize("variable", ["PACKER_PLUGIN_PATH", "PACKER_CONFIG_DIR", "HOME"])
def test_an_installed_plugin_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    value = tmp_path / "somewhere"
    inside = {"PACKER_PLUGIN_PATH": ".", "PACKER_CONFIG_DIR": "plugins", "HOME": ".config/packer/plugins"}
    place_plugin(value / inside[variable], "1.1.4")
    monkeypatch.setenv(variable, str(value))
    assert plugin_folder(STEP) == value / inside[variable]


@pytest.mark.parametrize(
    ("version", "sha256"),
    [
        pytest.param("1.1.3", "", id="too-old"),
        pytest.param("1.1.5-dev", "", id="development"),
        pytest.param("1.1.4", "0" * 64, id="damaged"),
    ],
)
def test_another_plugin_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, sha256: str
) -> None:
    monkeypatch.setenv("PACKER_PLUGIN_PATH", str(tmp_path / "plugins"))
    place_plugin(tmp_path / "plugins", version, sha256=sha256)
    with pytest.raises(HarnessError, match=r"^packer-plugin-qemu >= 1\.1\.4 is not installed") as caught:
        plugin_folder(STEP)
    assert f"packer plugins install {PLUGIN_SOURCE}" in caught.value.hint


def test_the_plugin_is_built_as_a_release_and_registered_by_packer(program: Program, calls: Path) -> None:
    program("go", GO)
    folder = plugin_folder(STEP)
    assert len(list(folder.rglob("packer-plugin-qemu_v1.1.4_*_SHA256SUM"))) == 1
    assert "packer-plugin-qemu/version.VersionPrerelease= " in calls.read_text()
    assert plugin_folder(STEP) == folder
    assert len(calls.read_text().splitlines()) == 2  # the plugin, and Packer to register it


def test_a_plugin_that_cannot_be_built_is_no_failed_step(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program("go", GO)
    monkeypatch.setenv("FAKE_GO_FAILS", "module not available")
    with pytest.raises(HarnessError, match="module not available"):
        plugin_folder(STEP)
    assert capsys.readouterr().out == ""


def test_a_plugin_that_could_not_be_built_is_not_tried_again_for_a_day(
    program: Program, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", GO)
    monkeypatch.setenv("FAKE_GO_FAILS", "module not available")
    said = []
    for _ in range(2):
        with pytest.raises(HarnessError) as caught:
            plugin_folder(STEP)
        said.append(caught.value.message)
    assert said[0] == said[1]
    assert len(calls.read_text().splitlines()) == 1
    (failure,) = (tmp_path / "cache" / "tools").glob("*.failed")
    assert str(failure) in caught.value.hint
    long_ago = time.time() - packer_tools.REMEMBERED_S - 1
    os.utime(failure, (long_ago, long_ago))
    monkeypatch.delenv("FAKE_GO_FAILS")
    assert plugin_folder(STEP).is_dir()


def test_a_packer_that_could_not_be_built_is_tried_again(
    program: Program, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("go", GO)
    monkeypatch.setenv("FAKE_GO_FAILS", "module not available")
    for _ in range(2):
        with pytest.raises(HarnessError):
            packer_binary()
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "version"),
    [("Packer v1.15.1\n", (1, 15, 1)), ("go1.25", (1, 25, 0)), ("go1.26rc1", (1, 26, 0)), ("none", None)],
)
def test_versions_are_read_from_what_programs_print(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


def test_the_modules_pin_what_artifacts_yaml_says() -> None:
    for name, wanted in load_artifacts().modules.items():
        text = (MODULES / name / "go.mod").read_text()
        assert f"{wanted.module} v{wanted.version}" in {
            line.removesuffix(" // indirect").removeprefix("require ").strip() for line in text.splitlines()
        }
        assert "replace github.com/zclconf/go-cty => github.com/nywilken/go-cty v1.13.3" in text
