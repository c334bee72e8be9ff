"""A CPU the engine can't use stops configure with the way out."""

from __future__ import annotations

import pytest
from bash_guest import CPUINFO, Guest


def test_a_cpu_with_everything_passes(guest: Guest) -> None:
    result = guest.run("check_cpu")
    assert (result.stdout, result.stderr) == ("", "")


def test_opennebulas_default_cpu_is_refused_with_the_way_out(guest: Guest) -> None:
    guest.write(
        "/proc/cpuinfo",
        "model name\t: QEMU Virtual CPU version 2.5+\nflags\t\t: fpu de pse tsc msr cx16 x2apic hypervisor\n",
    )
    assert guest.configure(check=False).returncode != 0
    assert guest.console() == [
        "slm-copilot: failed configure: this VM's CPU (QEMU Virtual CPU version 2.5+) lacks AVX2 FMA BMI2 "
        'F16C MOVBE, which the engine needs; set CPU_MODEL = [ MODEL = "host-passthrough" ] in the VM '
        "template, or use a host with such a CPU (x86-64-v3)"
    ]
    assert not guest.path("/etc/slm-copilot").exists()


@pytest.mark.parametrize("feature", ["avx2", "fma", "bmi2", "f16c", "movbe"])
def test_each_feature_counts_and_as_a_whole_word(guest: Guest, feature: str) -> None:
    guest.write("/proc/cpuinfo", CPUINFO.replace(f" {feature}", f" x{feature} {feature}_vnni"))
    result = guest.run("check_cpu", check=False)
    assert result.returncode != 0
    assert f"lacks {feature.upper()}, which" in result.stderr


def test_an_unreadable_list_is_a_warning(guest: Guest) -> None:
    guest.write("/proc/cpuinfo", "Features : fp asimd\n")
    assert "is not checked" in guest.run("check_cpu").stderr
    guest.path("/proc/cpuinfo").unlink()
    assert "is not checked" in guest.run("check_cpu").stderr


def test_a_hostile_model_name_stays_one_short_line(guest: Guest) -> None:
    guest.write("/proc/cpuinfo", "model name\t: \x1b[2J$(id)" + "x" * 5000 + "\nflags\t\t: fpu\n")
    result = guest.run("check_cpu", check=False)
    assert len(result.stderr.splitlines()) == 1
    assert len(result.stderr) < 400
    assert "\x1b" not in result.stderr
