"""The stand-in for one-contextd: which context it takes, what scripts get of it, and when they run."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from relocated import STANDIN, relocate

from harness.context.oned import context_files
from harness.context.variables import render_context_sh

ONE_CONTEXT = STANDIN / "one-context"

# A script of /etc/one-context.d: says that it ran, with what, and keeps its environment.
SCRIPT = """\
#!/bin/bash
echo "{name} $1 ${{2:--}}" >>"$RAN"
env -0 >"$RAN.env-{name}"
{body}
"""


@dataclass(frozen=True)
class Guest:
    """one-contextd below `root`, with a `logger` and a `blkid` that only remember."""

    root: Path

    @property
    def runtime(self) -> Path:
        return self.root / "var/run/one-context"

    @property
    def ran(self) -> list[str]:
        """ "SCRIPT STAGE COMMAND" of every script that ran, in order."""
        path = self.root / "ran"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def forget(self) -> None:
        (self.root / "ran").unlink(missing_ok=True)

    def script(self, name: str, body: str = "", *, executable: bool = True) -> None:
        path = self.root / "etc/one-context.d" / name
        path.write_text(SCRIPT.format(name=name, body=body), encoding="utf-8")
        path.chmod(0o755 if executable else 0o644)

    def insert(self, files: Mapping[str, bytes], folder: str = "context") -> None:
        target = self.root / folder
        target.mkdir(exist_ok=True)
        for name, content in files.items():
            (target / name).write_bytes(content)

    def insert_disk(self, files: Mapping[str, bytes], *, mountable: bool = True) -> None:
        """A disk labelled CONTEXT: `mount` copies it, `umount` empties the mount point."""
        self.insert(files, "disk")
        (self.root / "sys/class/block").mkdir(parents=True)
        (self.root / "sys/class/block/sr0").touch()
        disk = shlex.quote(str(self.root / "disk"))
        self.stub("blkid", "echo /dev/loop7; echo /dev/sr0")
        self.stub("mount", f'cp {disk}/* "${{@: -1}}"' if mountable else "exit 32")
        self.stub("umount", 'rm -f "$1"/*')

    def stub(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/bash\necho "$*" >>"{self.root}/{name}.log"\n{body}\n', encoding="utf-8")
        path.chmod(0o755)

    def log(self, name: str) -> str:
        path = self.root / f"{name}.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def contextd(self, *arguments: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", self.root / "one-contextd", *arguments],
            env={"PATH": f"{self.root}/bin:{os.environ['PATH']}", "RAN": f"{self.root}/ran"},
            capture_output=True,
            text=True,
            timeout=timeout,
            umask=0o022,
            check=False,
        )

    def environment(self, script: str) -> dict[str, str]:
        """What this script was given, when it ran last."""
        raw = (self.root / f"ran.env-{script}").read_text(encoding="utf-8")
        return dict(item.split("=", 1) for item in raw.split("\0") if item)


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    for folder in ("bin", "etc/one-context.d", "var/run"):
        (tmp_path / folder).mkdir(parents=True)
    text = (ONE_CONTEXT / "usr/sbin/one-contextd").read_text(encoding="utf-8")
    (tmp_path / "one-contextd").write_text(relocate(text, tmp_path), encoding="utf-8")
    made = Guest(tmp_path)
    made.stub("logger", "")
    made.script("net-50-one")
    made.insert({"context.sh": b"A='1'\n"})
    return made


def values(guest: Guest, context: Mapping[str, str]) -> dict[str, str]:
    """What a script sees of these variables, as oned writes them."""
    guest.insert({"context.sh": render_context_sh(context)})
    assert guest.contextd("network").returncode == 0
    environment = guest.environment("net-50-one")
    return {name: environment[name] for name in context if name in environment}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "two words",
        "it's 'quoted'",
        'say "hello"',
        "$HOME $(id) `id` \\n",
        "a\nb\n\nc",
        "ä €",
        " x ",
    ],
)
def test_values_arrive_as_oned_meant_them(guest: Guest, value: str) -> None:
    assert values(guest, {"ONEAPP_X": value, "Z": "after"}) == {"ONEAPP_X": value, "Z": "after"}


def test_a_line_inside_a_value_exports_the_variable_it_looks_like(guest: Guest) -> None:
    """Of that name, not with that value."""
    guest.insert({"context.sh": render_context_sh({"A": "one\nLANG=xx\nINNER=yy\nthree"})})
    guest.contextd("network")
    environment = guest.environment("net-50-one")
    assert environment["A"] == "one\nLANG=xx\nINNER=yy\nthree"
    assert (environment["LANG"], "INNER" in environment) == ("C", False)


def test_only_what_begins_a_line_is_exported(guest: Guest) -> None:
    guest.insert({"context.sh": b"  INDENTED='1'\nA-B='2'\nC='3'\nfalse\nunset_name $x\nD='4'"})
    assert guest.contextd("network").returncode == 0
    environment = guest.environment("net-50-one")
    assert {name: environment.get(name) for name in ("INDENTED", "C", "D")} == {
        "INDENTED": None,
        "C": "3",
        "D": "4",
    }


@pytest.mark.parametrize("name", ["stage", "command", "stored", "line", "names", "script", "name"])
def test_a_context_variable_does_not_get_in_the_way(guest: Guest, name: str) -> None:
    assert values(guest, {name: "online", "Z": "1"}) == {name: "online", "Z": "1"}
    assert guest.ran == ["net-50-one network -"]


def test_scripts_run_in_the_order_of_their_names_each_in_its_stage(guest: Guest) -> None:
    for name in ("net-90-b", "loc-20-a", "net-10-c", "loc-10-z", "zz-other", "Net-1"):
        guest.script(name)
    guest.contextd("local")
    local = guest.ran
    guest.forget()
    guest.contextd("network")
    assert local == ["loc-10-z local -", "loc-20-a local -"]
    assert [line.split()[0] for line in guest.ran] == [
        "Net-1",
        "net-10-c",
        "net-50-one",
        "net-90-b",
        "zz-other",
    ]


def test_all_runs_every_stage(guest: Guest) -> None:
    guest.script("loc-10-z")
    guest.contextd("all", "reconfigure")
    assert guest.ran == [
        "loc-10-z local reconfigure",
        "loc-10-z online reconfigure",
        "net-50-one network reconfigure",
    ]


def test_a_stage_whose_context_is_unchanged_runs_nothing(guest: Guest) -> None:
    guest.contextd("network")
    guest.forget()
    assert guest.contextd("network", "reconfigure").returncode == 0
    assert guest.ran == []
    assert "unchanged" in guest.log("logger")


def test_force_runs_it_all_the_same(guest: Guest) -> None:
    guest.contextd("network")
    guest.forget()
    guest.contextd("network", "force")
    assert guest.ran == ["net-50-one network force"]


@pytest.mark.parametrize("changed", [b"A='2'\n", b"A='1'\n\n", b"A='1'", b"B='1'\n"])
def test_any_changed_byte_counts(guest: Guest, changed: bytes) -> None:
    guest.contextd("network")
    guest.forget()
    guest.insert({"context.sh": changed})
    guest.contextd("network", "reconfigure")
    assert guest.ran == ["net-50-one network reconfigure"]


def test_each_stage_remembers_its_own_context(guest: Guest) -> None:
    guest.script("loc-10-z")
    guest.contextd("local")
    guest.contextd("network")
    assert guest.ran == ["loc-10-z local -", "net-50-one network -"]


def test_a_variable_that_is_gone_is_gone(guest: Guest) -> None:
    guest.insert({"context.sh": b"A='1'\nB='2'\n"})
    guest.contextd("network")
    guest.insert({"context.sh": b"A='1'\n"})
    guest.contextd("network", "reconfigure")
    assert "B" not in guest.environment("net-50-one")


def test_a_script_that_fails_is_logged_and_the_next_one_runs(guest: Guest) -> None:
    guest.script("net-10-bad", "exit 7")
    guest.script("net-20-not-executable", executable=False)
    assert guest.contextd("network").returncode == 0
    assert guest.ran == ["net-10-bad network -", "net-50-one network -"]
    log = guest.log("logger").splitlines()
    assert any(".err" in line and "net-10-bad: Finished with exit code 7" in line for line in log)
    assert any(
        ".err" in line and "net-20-not-executable: Finished with exit code 126" in line for line in log
    )
    assert any(".info" in line and "net-50-one: Finished with exit code 0" in line for line in log)


def test_scripts_get_no_input(guest: Guest) -> None:
    guest.script("net-10-reads", 'cat >"$RAN.input"')
    guest.contextd("network")
    assert guest.ran == ["net-10-reads network -", "net-50-one network -"]
    assert (guest.root / "ran.input").read_bytes() == b""


def test_a_disk_with_the_label_wins_over_the_folder(guest: Guest) -> None:
    guest.insert_disk({"context.sh": b"A='disk'\n"})
    guest.contextd("network")
    assert guest.environment("net-50-one")["A"] == "disk"
    assert guest.log("mount").startswith("-o ro /dev/sr0 ")
    assert guest.log("umount") != ""


def test_the_disk_may_be_taken_out_while_scripts_run(guest: Guest) -> None:
    guest.insert_disk({"context.sh": b"A='disk'\n", "token.txt": b"secret\n"})
    guest.script(
        "net-10-look", f'cp "{guest.root}/umount.log" "$RAN.umount"; cat "$MOUNT_DIR/token.txt" >>"$RAN"'
    )
    guest.contextd("network")
    assert (guest.root / "ran.umount").exists()
    assert guest.ran == ["net-10-look network -", "secret", "net-50-one network -"]


def test_a_disk_that_cannot_be_mounted_is_an_error(guest: Guest) -> None:
    guest.insert_disk({"context.sh": b"A='disk'\n"}, mountable=False)
    guest.stub("sleep", "")
    assert guest.contextd("network").returncode == 1
    assert guest.ran == []
    assert guest.log("mount").count("\n") == 6
    assert "can't be mounted" in guest.log("logger")


def test_without_a_context_nothing_runs(guest: Guest) -> None:
    (guest.root / "context/context.sh").unlink()
    assert guest.contextd("network").returncode == 1
    assert guest.ran == []
    assert "No contextualization found" in guest.log("logger")


def test_a_context_without_context_sh_changes_nothing(guest: Guest) -> None:
    guest.contextd("network")
    guest.forget()
    (guest.root / "context/context.sh").unlink()
    guest.insert({"token.txt": b"x\n"})
    assert guest.contextd("network").returncode == 0
    assert guest.ran == []
    assert (guest.runtime / "context.sh.network").read_bytes() == b"A='1'\n"


def test_one_run_at_a_time(guest: Guest) -> None:
    lock = guest.runtime / "one-context.lock"
    lock.mkdir(parents=True)
    results: list[int] = []
    waiting = threading.Thread(target=lambda: results.append(guest.contextd("network").returncode))
    waiting.start()
    time.sleep(0.5)
    ran_locked = guest.ran
    lock.rmdir()
    waiting.join(10)
    assert (ran_locked, results, guest.ran) == ([], [0], ["net-50-one network -"])


def test_a_lock_that_stays_is_an_error_after_two_minutes(guest: Guest) -> None:
    (guest.runtime / "one-context.lock").mkdir(parents=True)
    guest.stub("sleep", "")
    assert guest.contextd("network").returncode == 1
    assert (guest.log("sleep").count("\n"), guest.ran) == (120, [])
    assert (guest.runtime / "one-context.lock").is_dir()


def test_only_root_may_look_at_what_it_keeps(guest: Guest) -> None:
    guest.script("net-10-look", f'find "{guest.runtime}" -printf "%m %P\\n" | sort -k2 >"$RAN.modes"')
    guest.insert({"token.txt": b"secret\n"})
    guest.contextd("network")
    assert (guest.root / "ran.modes").read_text().splitlines() == [
        "700 ",
        "400 context.sh.network",
        "400 context.sh.new",
        "700 files",
        "400 files/context.sh",
        "400 files/token.txt",
        "755 one-context.lock",
    ]
    left = sorted(path.name for path in guest.runtime.iterdir())
    assert left == ["context.sh.network"]


def test_the_locale_is_c_and_home_is_what_it_was(guest: Guest) -> None:
    guest.contextd("network")
    environment = guest.environment("net-50-one")
    assert (environment["LANG"], environment["LC_ALL"], environment.get("HOME")) == ("C", "C", None)


@pytest.mark.parametrize("arguments", [[], ["everything"], ["network", "again"]], ids=" ".join)
def test_wrong_arguments(guest: Guest, arguments: list[str]) -> None:
    assert guest.contextd(*arguments).returncode == 2
    assert guest.ran == []


def one_env(guest: Guest) -> str:
    return (guest.runtime / "one_env").read_text(encoding="utf-8")


def gen_env(guest: Guest) -> None:
    script = guest.root / "etc/one-context.d/loc-16-gen-env"
    text = (ONE_CONTEXT / "etc/one-context.d/loc-16-gen-env").read_text(encoding="utf-8")
    script.write_text(relocate(text, guest.root), encoding="utf-8")
    script.chmod(0o755)


def test_one_env_has_the_token_and_the_unescaped_context(guest: Guest) -> None:
    gen_env(guest)
    context = {"ONEGATE_ENDPOINT": "http://10.0.2.2:5030", "VMID": "7", "TOKEN": "YES", "X": 'a "b"'}
    guest.insert(context_files(context, b"dG9rZW4=\n"))
    guest.contextd("local")
    assert one_env(guest).splitlines()[:3] == [
        'export TOKENTXT="dG9rZW4="',
        'export VMID="7"',
        'export ONEGATE_ENDPOINT="http://10.0.2.2:5030"',
    ]
    assert 'export X="a "b""' in one_env(guest).splitlines()
    assert (guest.runtime / "one_env").stat().st_mode & 0o777 == 0o400


def test_the_token_is_in_no_environment(guest: Guest) -> None:
    guest.insert({"token.txt": b"dG9rZW4=\n"})
    guest.contextd("network")
    assert "dG9rZW4=" not in str(guest.environment("net-50-one"))


def test_one_env_without_a_token(guest: Guest) -> None:
    gen_env(guest)
    guest.contextd("local")
    assert one_env(guest).splitlines()[0] == 'export TOKENTXT=""'
