"""The scripts that provision a guest, function by function in a folder, never on this host's own files."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.image.staging import PROVISION

CLOUD, CONTEXT, SEAL = (PROVISION / name for name in ("05-cloud-image.sh", "10-one-context.sh", "90-seal.sh"))

_ABSOLUTE = re.compile(r"(?<![\w}/.*$])/(?=(?:boot|etc|home|opt|root|run|tmp|usr|var)(?:/|\b))")


@dataclass(frozen=True)
class Guest:
    """A root file system below `root`, with programs that only remember how they were called."""

    root: Path

    def write(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        return file

    def stub(self, name: str, body: str = "") -> None:
        log = self.root / f"{name}.log"
        self.write(f"bin/{name}", f'#!/bin/bash\necho "$*" >>"{log}"\n{body}\n', 0o755)

    def calls(self, name: str) -> list[str]:
        log = self.root / f"{name}.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def run(self, script: Path, *functions: str) -> subprocess.CompletedProcess[str]:
        """Only these functions of the script, with all absolute paths it names below the root."""
        text = script.read_text(encoding="utf-8").removesuffix("\n_main\n")
        assert text.count("\n_main\n") == 0
        text = _ABSOLUTE.sub(f"{self.root}/", text)
        return subprocess.run(
            ["bash", "-c", "\n".join([text, *functions])],
            env={"PATH": f"{self.root}/bin:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            umask=0o022,
            timeout=20,
            check=False,
        )


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    made = Guest(tmp_path)
    for name in ("apt-get", "systemctl", "systemd-sysusers", "update-grub", "cloud-init", "id"):
        made.stub(name)
    made.stub("dpkg-query", "exit 1")
    return made


def base_env(guest: Guest, **values: str) -> None:
    names = ("PACKAGES", "PURGE", "DISABLE_UNITS", "MASK_UNITS", "VERSIONS", "MIRROR")
    lines = [f"BASE_{name}={values.get(name.lower(), '')!r}" for name in names]
    guest.write("run/slm-stage/base.env", "\n".join(lines) + "\n")


# ---- 05-cloud-image.sh


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (2, 0), (1, 1)])
def test_a_cloud_init_that_only_complains_is_no_failure(guest: Guest, status: int, ends: int) -> None:
    base_env(guest)
    guest.stub("cloud-init", f"exit {status}")
    assert guest.run(CLOUD, "_wait_for_cloud_init").returncode == ends
    assert guest.calls("cloud-init") == ["status --wait"]


def test_no_package_starts_a_daemon_while_the_image_is_made(guest: Guest) -> None:
    base_env(guest)
    guest.write("usr/sbin/placeholder")
    assert guest.run(CLOUD, "_forbid_starts").returncode == 0
    answer = subprocess.run([guest.root / "usr/sbin/policy-rc.d"], check=False, timeout=5)
    assert answer.returncode == 101


def test_only_what_is_installed_is_removed(guest: Guest) -> None:
    base_env(guest, purge="cloud-init snapd never-heard-of")
    guest.stub("dpkg-query", 'case ${@: -1} in cloud-init) echo "ii ";; snapd) echo "rc ";; *) exit 1;; esac')
    assert guest.run(CLOUD, "_purge").returncode == 0
    (purged,) = guest.calls("apt-get")
    assert purged.split()[-2:] == ["purge", "cloud-init"]


@pytest.mark.parametrize(
    ("have", "is_right"),
    [
        ("1.24.0-2ubuntu7.1", True),
        ("1.24", True),
        ("1:1.24-1", True),
        ("1.240-1", False),
        ("1.26.3", False),
    ],
)
def test_an_archive_with_other_versions_is_refused(guest: Guest, have: str, is_right: bool) -> None:
    base_env(guest, versions="nginx=1.24")
    guest.stub("dpkg-query", f"echo -n {have}")
    result = guest.run(CLOUD, "_check_versions")
    assert (result.returncode == 0) is is_right
    assert ("the base stands for nginx 1.24" in result.stderr) is not is_right


SOURCES = """\
Types: deb
URIs: http://archive.ubuntu.com/ubuntu/
Suites: noble noble-updates

Types: deb
URIs: http://security.ubuntu.com/ubuntu/
Suites: noble-security
"""


def test_a_mirror_is_used_while_the_image_is_made_and_no_longer(guest: Guest) -> None:
    base_env(guest, mirror="https://mirror.example/ubuntu/")
    sources = guest.write("etc/apt/sources.list.d/ubuntu.sources", SOURCES)
    (guest.root / "root").mkdir()
    assert guest.run(CLOUD, "_use_mirror").returncode == 0
    assert sources.read_text().count("URIs: https://mirror.example/ubuntu/\n") == 2
    assert "ubuntu.com" not in sources.read_text()
    assert guest.run(CONTEXT, "_end_installing").returncode == 0
    assert sources.read_text() == SOURCES
    assert not (guest.root / "root/apt-sources").exists()


def test_without_a_mirror_the_distribution_is_asked(guest: Guest) -> None:
    base_env(guest)
    sources = guest.write("etc/apt/sources.list.d/ubuntu.sources", SOURCES)
    assert guest.run(CLOUD, "_use_mirror").returncode == 0
    assert sources.read_text() == SOURCES


def test_network_cards_are_numbered_as_opennebula_does(guest: Guest) -> None:
    base_env(guest)
    grub = guest.root / "boot/grub/grub.cfg"
    guest.write("boot/grub/grub.cfg", "linux /vmlinuz root=LABEL=x\n")
    assert guest.run(CLOUD, "_set_boot_options").returncode != 0, "GRUB took no notice of it"
    settings = guest.root / "etc/default/grub.d/90-slm-copilot.cfg"
    guest.stub("update-grub", f'. "{settings}"; echo "linux $GRUB_CMDLINE_LINUX" >"{grub}"')
    assert guest.run(CLOUD, "_set_boot_options").returncode == 0
    assert "net.ifnames=0" in grub.read_text()


# ---- 10-one-context.sh


def stage_one_apps(guest: Guest) -> None:
    # The ISO carries the modes of a download: nothing is executable.
    stage = "run/slm-stage/artifacts/one-apps"
    for name in ("service", "lib/common.sh", "lib/functions.sh"):
        guest.write(f"{stage}/{name}", "#!/bin/sh\n")
    for name in ("net-90-service-appliance", "net-99-report-ready"):
        guest.write(f"{stage}/hooks/{name}", "#!/bin/sh\n")
    guest.write("etc/one-context.d/net-99-report-ready", "the package's own\n", 0o755)


def test_service_and_hooks_are_executable_whatever_their_download_was(guest: Guest) -> None:
    stage_one_apps(guest)
    result = guest.run(CONTEXT, "umask 0022", "_install_service", "_check")
    assert result.returncode == 0, result.stderr
    modes = {
        path: (guest.root / path).stat().st_mode & 0o777
        for path in (
            "etc/one-appliance",
            "etc/one-appliance/service",
            "etc/one-appliance/lib/common.sh",
            "etc/one-appliance/lib/functions.sh",
            "etc/one-context.d/net-90-service-appliance",
            "etc/one-context.d/net-99-report-ready",
        )
    }
    assert list(modes.values()) == [0o750, 0o755, 0o644, 0o644, 0o755, 0o755], modes
    assert (guest.root / "etc/one-context.d/net-99-report-ready").read_text() == "#!/bin/sh\n"


def test_a_hook_that_is_not_executable_ends_the_build(guest: Guest) -> None:
    guest.write("etc/one-context.d/net-90-service-appliance")
    result = guest.run(CONTEXT, "_check")
    assert result.returncode == 1
    assert "net-90-service-appliance is not there or not executable" in result.stderr


def test_the_units_of_one_context_are_enabled_where_the_package_did_not(guest: Guest) -> None:
    stage_one_apps(guest)
    guest.stub("systemctl", "[[ $* != *is-enabled* ]]")
    assert guest.run(CONTEXT, "_install_service", "_check").returncode == 0
    enabled = [call.split()[-1] for call in guest.calls("systemctl") if " enable " in call]
    assert enabled == ["one-context-local.service", "one-context-online.service", "one-context.service"]


def test_cloud_init_beside_one_context_ends_the_build(guest: Guest) -> None:
    guest.stub("dpkg-query", 'echo -n "ii "')
    result = guest.run(CONTEXT, "_install_package")
    assert result.returncode == 1
    assert "cloud-init is still there" in result.stderr


def test_users_that_no_package_could_make_are_made(guest: Guest) -> None:
    policy = guest.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    assert guest.run(CONTEXT, "_end_installing").returncode == 0
    assert guest.calls("systemd-sysusers") == [""]
    assert not policy.exists()


# ---- 90-seal.sh


@pytest.fixture
def sealed(guest: Guest) -> Guest:
    """What is left of a machine when nothing is left of the build."""
    guest.write("etc/one-appliance/status", "install_success\n")
    guest.write("etc/shadow", "root:!*:20000::::::\nnobody:*:20000::::::\nsshd:!:20000::::::\n")
    guest.write("etc/machine-id")
    for folder in ("etc/ssh", "root", "home", "var/lib/apt/lists", "var/log"):
        (guest.root / folder).mkdir(parents=True, exist_ok=True)
    return guest


def test_a_sealed_machine_is_one(sealed: Guest) -> None:
    result = sealed.run(SEAL, "_check")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "left",
    [
        "etc/ssh/ssh_host_ed25519_key",
        "root/.ssh/authorized_keys",
        "home/ubuntu/.ssh/authorized_keys",
        "var/lib/apt/lists/archive_Packages",
        "var/log/dpkg.log",
        "etc/netplan/50-cloud-init.yaml",
        "etc/netplan/90-NM-1.yaml",
        "etc/NetworkManager/system-connections/build.nmconnection",
        "var/lib/cloud/instance",
        "usr/sbin/policy-rc.d",
        "root/apt-sources/sources.list",
        "etc/machine-id",
    ],
)
def test_what_is_left_of_the_build_ends_it(sealed: Guest, left: str) -> None:
    sealed.write(left, "x\n")
    result = sealed.run(SEAL, "_check")
    assert result.returncode == 1
    assert result.stderr.startswith("sealing left behind: ")
    assert left.split("/")[1] in result.stderr


@pytest.mark.parametrize("password", ["$y$j9T$abc$def", "", "x"])
def test_an_account_that_a_password_opens_ends_the_build(sealed: Guest, password: str) -> None:
    sealed.write("etc/shadow", f"root:{password}:20000::::::\n")
    result = sealed.run(SEAL, "_check")
    assert (result.returncode, result.stderr) == (1, "sealing left behind: password of root\n")


def test_what_a_cloud_image_was_told_is_forgotten(sealed: Guest) -> None:
    for name in ("etc/netplan/50-cloud-init.yaml", "etc/netplan/90-NM-2.yaml", "var/lib/cloud/seed/x"):
        sealed.write(name)
    sealed.write("etc/ssh/sshd_config.d/60-cloudimg-settings.conf")
    sealed.write("etc/ssh/sshd_config.d/10-slm-copilot.conf")
    (sealed.root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert sealed.run(SEAL, "_forget_build_network", "_forget_cloud_init", "_check").returncode == 0
    assert (sealed.root / "etc/resolv.conf").is_symlink()
    assert [one.name for one in (sealed.root / "etc/ssh/sshd_config.d").iterdir()] == ["10-slm-copilot.conf"]


def test_what_the_networks_of_the_build_said_is_forgotten(sealed: Guest) -> None:
    resolver = sealed.write("etc/resolv.conf", "nameserver 10.0.2.3\n")
    assert sealed.run(SEAL, "_forget_build_network").returncode == 0
    assert not resolver.exists()


def test_the_packages_are_listed_for_the_bill_of_materials(sealed: Guest) -> None:
    (sealed.root / "opt/slm-copilot").mkdir(parents=True)
    sealed.stub("dpkg-query", "printf 'bash 5.2\\nnginx 1.24\\n'")
    assert sealed.run(SEAL, "_list_packages").returncode == 0
    assert (sealed.root / "opt/slm-copilot/packages.txt").read_text() == "bash 5.2\nnginx 1.24\n"
