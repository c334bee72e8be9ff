"""The pair store: who made the pair that is served, and what is left after a switch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bash_guest import Guest, required

CONFIGURE = "load_flavor; validate_parameters; check_tls_mode; resolve_addresses; configure_tls"
FOLDER = "/etc/ssl/slm-copilot"


def pairs(guest: Guest) -> list[Path]:
    return sorted(guest.path(FOLDER).glob("pair.*"))


def origin(guest: Guest) -> str:
    return guest.run("current_origin").stdout.strip()


def make_pair(folder: Path, subject: str) -> None:
    """A self-signed pair as somebody else's tool makes it."""
    command = [
        required("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]
    command += ["-nodes", "-days", "90", "-subj", subject, "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def store(guest: Guest, folder: Path, origin: str, *, check: bool = True) -> str:
    """Puts a pair into the store as a TLS mode does; what was said."""
    script = (
        'make_folder 0755 root:root "$SLM_TLS_DIR"; folder=$(new_pair_folder "$ORIGIN");'
        'cp "$SOURCE/cert.pem" "$SOURCE/key.pem" "$folder"; switch_to_pair "$folder"'
    )
    result = guest.run(script, check=check, SOURCE=str(folder), ORIGIN=origin)
    assert (result.returncode == 0) is check
    return result.stdout + result.stderr


def test_a_new_pair_says_who_made_it(guest: Guest) -> None:
    guest.run(CONFIGURE)
    file = guest.path(f"{FOLDER}/current/origin")
    assert file.read_text() == "selfsigned\n"
    assert oct(file.stat().st_mode & 0o777) == "0o644"
    assert origin(guest) == "selfsigned"


def test_without_a_pair_nobody_made_it(guest: Guest) -> None:
    assert origin(guest) == ""


@pytest.mark.parametrize("damage", ["missing", "empty", "a word that is no mode"])
def test_a_pair_of_an_earlier_version_is_kept_and_gets_its_origin(guest: Guest, damage: str) -> None:
    guest.run(CONFIGURE)
    file = guest.path(f"{FOLDER}/current/origin")
    before = file.with_name("cert.pem").read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_text("" if damage == "empty" else "somebody\n")
    assert origin(guest) == "selfsigned"
    assert "keeping the certificate" in guest.run(CONFIGURE).stdout
    assert file.read_text() == "selfsigned\n"
    assert file.with_name("cert.pem").read_bytes() == before


def test_somebody_elses_self_signed_certificate_is_not_ours(guest: Guest, tmp_path: Path) -> None:
    make_pair(tmp_path, "/O=Example/CN=copilot")
    store(guest, tmp_path, "custom")
    guest.path(f"{FOLDER}/current/origin").unlink()
    assert origin(guest) == "custom"


@pytest.mark.parametrize("before", ["custom", "letsencrypt"])
def test_a_self_signed_pair_of_another_mode_is_replaced_and_nothing_of_it_stays(
    guest: Guest, tmp_path: Path, before: str
) -> None:
    make_pair(tmp_path, "/O=SLM-Copilot/CN=copilot")
    store(guest, tmp_path, before)
    assert f"comes from TLS mode {before}" in guest.run(CONFIGURE).stdout
    assert len(pairs(guest)) == 1
    assert origin(guest) == "selfsigned"


def test_a_pair_that_does_not_match_is_not_switched_to(guest: Guest, tmp_path: Path) -> None:
    guest.run(CONFIGURE)
    before = pairs(guest)
    make_pair(tmp_path, "/CN=copilot")
    (tmp_path / "key.pem").write_bytes(guest.path(f"{FOLDER}/key.pem").read_bytes())
    assert "the key doesn't belong to the certificate" in store(guest, tmp_path, "custom", check=False)
    assert pairs(guest) == before
    assert origin(guest) == "selfsigned"


def test_what_an_interrupted_run_left_is_removed_by_the_next(guest: Guest) -> None:
    guest.run(CONFIGURE)
    before = pairs(guest)
    guest.write(f"{FOLDER}/pair.aborted/key.pem", "half a key")
    guest.path(f"{FOLDER}/.current.link").symlink_to("pair.aborted")
    guest.run(CONFIGURE)
    assert pairs(guest) == before
    assert sorted(file.name for file in guest.path(FOLDER).iterdir()) == [
        "cert.pem",
        "current",
        "key.pem",
        before[0].name,
    ]


def test_only_the_modes_that_are_not_served_clean_up_after_themselves(guest: Guest) -> None:
    modes = ("selfsigned", "letsencrypt", "custom")
    leave = "".join(f"tls_{mode}_leave() {{ echo left {mode}; }}\n" for mode in modes)
    said = guest.run(leave + CONFIGURE).stdout.splitlines()
    assert [line for line in said if line.startswith("left ")] == ["left letsencrypt", "left custom"]
