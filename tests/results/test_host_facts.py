"""Facts about the host, read from what the kernel and git print."""

import subprocess
from pathlib import Path

from harness.results.host import cpu_name, git_commit, ram_mib


def test_the_processors_name() -> None:
    assert cpu_name("processor\t: 0\nmodel name\t: AMD EPYC 9B14\nflags\t: fpu\n") == "AMD EPYC 9B14"
    assert cpu_name("no such line") != ""


def test_memory() -> None:
    assert ram_mib("MemTotal:       24683512 kB\nMemFree: 1 kB\n") == 24104
    assert ram_mib("") == 0


def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert git_commit(tmp_path) == ""
    git("init", "-q")
    assert git_commit(tmp_path) == ""
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("")
    assert git_commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == f"{head}-dirty"
