"""Files appear whole or not at all, with the mode that was asked for, under one-apps' umask 0077."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from bash_guest import APPLIANCE, Guest


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)[2:]


def test_mode_is_explicit_under_umask_0077(guest: Guest) -> None:
    guest.run(
        'echo x | write_atomically 0644 root:root "$SLM_ROOT/open";'
        'echo x | write_atomically 0600 root:root "$SLM_ROOT/shut"'
    )
    assert mode(guest.path("/open")) == "644"
    assert mode(guest.path("/shut")) == "600"


def test_folders_get_a_mode_and_readable_parents(guest: Guest) -> None:
    guest.run('make_folder 0750 root:root "$SLM_ROOT/a/b/c"')
    assert [mode(guest.path(name)) for name in ("/a", "/a/b", "/a/b/c")] == ["755", "755", "750"]


def test_content_is_exact(guest: Guest) -> None:
    guest.run('printf "a\\n\\n" | write_if_changed 0644 root:root "$SLM_ROOT/file"')
    assert guest.path("/file").read_text() == "a\n\n"
    guest.run('printf "" | write_if_changed 0644 root:root "$SLM_ROOT/file"')
    assert guest.path("/file").read_text() == ""


def test_an_identical_file_is_left_alone_but_its_mode_mended(guest: Guest) -> None:
    write = 'write_if_changed 0600 root:root "$SLM_ROOT/file" <<<"x"; echo "$WRITE_CHANGED"'
    assert guest.run(write).stdout == "true\n"
    before = guest.path("/file").stat()
    guest.path("/file").chmod(0o644)
    assert guest.run(write).stdout == "false\n"
    after = guest.path("/file").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert mode(guest.path("/file")) == "600"


def test_an_unfinished_write_goes_away_although_nothing_changed(guest: Guest) -> None:
    guest.write("/folder/file", "same\n")
    guest.write("/folder/.file.Ab12Cd", "half")
    guest.run('echo same | write_if_changed 0600 root:root "$SLM_ROOT/folder/file"')
    assert [path.name for path in guest.path("/folder").iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file_and_no_temporary(guest: Guest) -> None:
    guest.write("/folder/file", "old")
    guest.stub("sync", "#!/usr/bin/env bash\nexit 1\n")
    result = guest.run('echo new | write_atomically 0644 root:root "$SLM_ROOT/folder/file"', check=False)
    assert result.returncode != 0
    assert guest.path("/folder/file").read_text() == "old"
    assert [path.name for path in guest.path("/folder").iterdir()] == ["file"]


def test_killed_at_any_moment_the_file_is_old_or_new(guest: Guest) -> None:
    target = guest.write("/folder/file", "old" * 50_000)
    new = "new" * 50_000
    script = (
        f'. {APPLIANCE}/lib/paths.sh; . {APPLIANCE}/lib/atomic.sh; write_atomically 0644 root:root "{target}"'
    )
    environment = {"PATH": os.environ["PATH"], "SLM_ROOT": str(guest.root)}
    for step in range(12):
        target.write_text("old" * 50_000)
        writer = subprocess.Popen(
            ["bash", "-c", script], stdin=subprocess.PIPE, env=environment, start_new_session=True, text=True
        )
        assert writer.stdin is not None
        try:
            writer.stdin.write(new)
            writer.stdin.close()
        except BrokenPipeError:
            pass
        time.sleep(step * 0.003)
        os.killpg(writer.pid, signal.SIGKILL)
        writer.wait()
        assert target.read_text() in ("old" * 50_000, new)
    # what the kills left behind goes with the next write
    guest.run('echo done | write_atomically 0644 root:root "$SLM_ROOT/folder/file"')
    assert [path.name for path in guest.path("/folder").iterdir()] == ["file"]


def test_a_link_is_replaced_in_one_step(guest: Guest) -> None:
    guest.write("/a/file", "a")
    guest.write("/b/file", "b")
    guest.run('link_atomically a "$SLM_ROOT/current"; link_atomically b "$SLM_ROOT/current"')
    assert guest.path("/current").readlink() == Path("b")
    assert guest.path("/current/file").read_text() == "b"


# Writing fails as it does on a full disk, but for the reason: no file may have a byte.
NO_ROOM = "trap '' XFSZ; ulimit -f 0; "
DF = "#!/usr/bin/env bash\nprintf 'Avail\\n%s\\n' {free}\n"


def test_a_write_that_finds_no_room_says_so_and_changes_nothing(guest: Guest) -> None:
    guest.write("/folder/file", "old")
    guest.stub("df", DF.format(free=12))
    script = NO_ROOM + 'echo new | write_atomically 0644 root:root "$SLM_ROOT/folder/file"'
    result = guest.run(script, check=False)
    assert result.returncode != 0
    assert "ERROR" in result.stderr
    assert "/folder/file could not be written: the disk is full; what was there before stays" in result.stderr
    assert guest.path("/folder/file").read_text() == "old"
    assert [path.name for path in guest.path("/folder").iterdir()] == ["file"]


def test_a_write_that_fails_otherwise_does_not_blame_the_disk(guest: Guest) -> None:
    guest.write("/folder/file", "old")
    guest.stub("df", DF.format(free=4000000))
    script = NO_ROOM + 'echo new | write_atomically 0644 root:root "$SLM_ROOT/folder/file"'
    result = guest.run(script, check=False)
    assert "could not be written; what was there before stays" in result.stderr
    assert "full" not in result.stderr
