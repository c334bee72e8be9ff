"""OpenSSH is told what we mean, and every command has an end. The client here is a script that plays ssh."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.deadline import DeadlineExceeded
from harness.machine.protocol import HostAddress
from harness.machine.ssh import GuestUnreachable, SshAccess, client_config

ADDRESS = HostAddress("127.0.0.1", 2222)

Play = Callable[[str, str], None]


@pytest.fixture
def access(tmp_path: Path) -> Iterator[SshAccess]:
    access = SshAccess(tmp_path / "ssh")
    access.write_config(ADDRESS)
    yield access
    access.close()


@pytest.fixture
def play_ssh(tmp_path: Path, access: SshAccess, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Puts a script in front of ssh: `master` plays the shared connection, `client` one command."""

    def play(master: str, client: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        socket = access.socket_folder / "s"
        script = folder / "ssh"
        script.write_text(
            "#!/bin/bash\n"
            'case " $* " in\n'
            f"  *' -N '*) socket={socket}; {master} ;;\n"
            f"  *) command=${{!#}}; {client} ;;\n"
            "esac\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    return play


UP = 'touch "$socket"; exec sleep 60'


def test_openssh_understands_the_config(access: SshAccess) -> None:
    command = ["ssh", "-G", "-F", str(access.config), "guest"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(" ", 1) for line in answer.splitlines() if " " in line)
    assert (facts["hostname"], facts["port"], facts["user"]) == ("127.0.0.1", "2222", "root")
    assert facts["stricthostkeychecking"] == "accept-new"
    assert facts["passwordauthentication"] == "yes" or facts["batchmode"] == "yes"
    assert facts["userknownhostsfile"] == str(access.folder / "known_hosts")
    assert facts["controlpath"] == str(access.socket_folder / "s")
    assert facts["serveraliveinterval"] == "10"


def test_awkward_paths_survive_the_config(tmp_path: Path) -> None:
    folder = tmp_path / "a folder: 100%"
    folder.mkdir()
    (folder / "config").write_text(client_config(ADDRESS, folder, folder / "s"))
    command = ["ssh", "-G", "-F", str(folder / "config"), "guest"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"identityfile {str(folder).replace('%', '%%')}/id_ed25519\n" in answer or (
        f"identityfile {folder}/id_ed25519\n" in answer
    )


def test_keys_are_of_this_run_and_private(access: SshAccess, tmp_path: Path) -> None:
    assert access.public_key.startswith("ssh-ed25519 ")
    assert (access.folder / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert access.folder.stat().st_mode & 0o777 == 0o700
    other = SshAccess(tmp_path / "other")
    assert other.public_key != access.public_key
    other.close()


def test_a_command_runs_with_its_input_and_exit_status(access: SshAccess, play_ssh: Play) -> None:
    play_ssh(UP, 'eval "$command"')
    result = access.run("read -r word; echo \"got '$word'\"; echo oops >&2; exit 7", input=b"secret\n")
    assert (result.exit_status, result.stdout, result.stderr) == (7, "got 'secret'\n", "oops\n")
    assert result.command.startswith("read -r word")


@pytest.mark.timing
def test_a_command_that_hangs_is_ended_in_time(access: SshAccess, play_ssh: Play) -> None:
    play_ssh(UP, 'eval "$command"')
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"command in the guest: sleep 30: not within 1 s"):
        access.run("sleep 30", timeout=1)
    assert time.monotonic() - started < 5


def test_a_commands_own_124_is_its_own(access: SshAccess, play_ssh: Play) -> None:
    play_ssh(UP, 'eval "$command"')
    assert access.run("exit 124").exit_status == 124
    assert access.run("exit 255").exit_status == 255


def test_ssh_failing_is_not_the_commands_failure(access: SshAccess, play_ssh: Play) -> None:
    play_ssh(UP, "echo 'mux_client_request_session: session request failed' >&2; exit 255")
    with pytest.raises(GuestUnreachable, match="cannot be reached over SSH: mux_client_request_session"):
        access.run("true")


@pytest.mark.timing
def test_a_refused_login_is_told_at_once(access: SshAccess, play_ssh: Play) -> None:
    play_ssh("echo 'root@127.0.0.1: Permission denied (publickey).' >&2; exit 255", "exit 1")
    started = time.monotonic()
    with pytest.raises(GuestUnreachable, match="Permission denied"):
        access.run("true", timeout=30)
    assert time.monotonic() - started < 3


def test_a_login_that_never_comes_keeps_to_the_commands_time(access: SshAccess, play_ssh: Play) -> None:
    play_ssh("exec sleep 60", "exit 1")
    with pytest.raises(DeadlineExceeded, match="SSH login to the guest"):
        access.run("true", timeout=0.3)


def test_disconnecting_ends_the_shared_connection(access: SshAccess, play_ssh: Play) -> None:
    play_ssh(UP, "exit 0")
    access.run("true")
    assert (access.socket_folder / "s").exists()
    access.disconnect()
    assert not (access.socket_folder / "s").exists()
    access.run("true")


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    access = SshAccess(tmp_path / "ssh")
    access.close()
    assert not access.folder.exists()
    assert not access.socket_folder.exists()
