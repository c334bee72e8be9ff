"""What a host was like during a measurement, read from a made-up one and from the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.bench.conditions import NOT_READABLE, StealMeter, flags_that_matter, measured_window

CPUINFO = """\
processor\t: 0
model name\t: AMD EPYC 9554 64-Core Processor
cpu MHz\t\t: 3000.000
flags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f avx512_vnni avx512_bf16 amx_tile clflush vmx
processor\t: 1
model name\t: AMD EPYC 9554 64-Core Processor
cpu MHz\t\t: 3100.000
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {
            "proc/cpuinfo": CPUINFO,
            "proc/stat": "cpu  100 0 100 5000 0 0 0 0 0 0\n",
            "proc/meminfo": "MemTotal: 25165824 kB\nMemAvailable: 20971520 kB\n",
            "proc/vmstat": "nr_free 7\npswpin 5\npswpout 6\n",
        },
    )
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_a_virtual_machine_tells_little_and_that_is_said(root: Path) -> None:
    with measured_window(root) as window:
        pass
    conditions = window.conditions
    assert conditions.cpu == "AMD EPYC 9554 64-Core Processor"
    assert conditions.governor is conditions.smt is conditions.numa_nodes is conditions.host_model is None
    assert conditions.frequency_before_mhz == 3050.0
    assert conditions.ram_mib == 24576
    told = conditions.as_labels()
    assert [name for name, value in told.items() if value == NOT_READABLE] == [
        "host_model",
        "smt",
        "numa_nodes",
        "governor",
        "huge_pages",
    ]
    assert told["cpu_flags"] == "amx_tile avx avx2 avx512_bf16 avx512_vnni avx512f f16c fma"


def test_a_real_machine_tells_more(root: Path) -> None:
    cpus = root / "sys/devices/system/cpu"
    write(
        root,
        {
            "sys/class/dmi/id/product_name": "PowerEdge R6615\n",
            f"{cpus}/smt/active": "1\n",
            f"{cpus}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpus}/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
            f"{cpus}/cpu1/cpufreq/scaling_governor": "performance\n",
            f"{cpus}/cpu1/cpufreq/scaling_cur_freq": "2500000\n",
            "sys/devices/system/node/online": "0-1,3\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        },
    )
    with measured_window(root) as window:
        pass
    told = window.conditions.as_labels()
    wanted = {
        "host_model": "PowerEdge R6615",
        "smt": "on",
        "numa_nodes": 3,
        "governor": "performance, powersave",
        "huge_pages": "madvise",
        "frequency_after_mhz": 2000.0,
    }
    assert {name: told[name] for name in wanted} == wanted


def test_what_changed_meanwhile_is_told(root: Path) -> None:
    with measured_window(root) as window:
        write(
            root,
            {
                # 10 s of work more, half a second of it stolen
                "proc/stat": f"cpu  {100 + 950 * os.sysconf('SC_CLK_TCK') // 100} 0 100 9000 0 0 0 "
                f"{50 * os.sysconf('SC_CLK_TCK') // 100} 0 0\n",
                "proc/meminfo": "MemTotal: 25165824 kB\nMemAvailable: 10485760 kB\n",
                "proc/vmstat": "pswpin 15\npswpout 6\n",
                "proc/cpuinfo": CPUINFO.replace("3100.000", "1000.000"),
            },
        )
    conditions = window.conditions
    assert conditions.steal_share == pytest.approx(0.05)
    assert conditions.as_labels()["steal_percent"] == 5.0
    assert conditions.others_cores > 1
    assert conditions.swapped_pages == 10
    assert (conditions.memory_before_mib, conditions.memory_after_mib) == (20480, 10240)
    assert (conditions.frequency_before_mhz, conditions.frequency_after_mhz) == (3050.0, 2000.0)


def test_the_conditions_of_what_failed_are_known_too(root: Path) -> None:
    with pytest.raises(OSError, match="gone"), measured_window(root) as window:
        raise OSError("gone")
    assert window.conditions.steal_share == 0


def test_an_open_window_has_no_conditions_yet(root: Path) -> None:
    with measured_window(root) as window, pytest.raises(RuntimeError, match="when it is closed"):
        window.conditions.as_labels()


def test_idle_cores_hide_no_steal(root: Path) -> None:
    meter = StealMeter(root / "proc")
    assert meter.share() == 0.0
    write(root, {"proc/stat": "cpu  190 0 100 95000 0 0 0 10 0 0\n"})
    assert meter.share() == pytest.approx(0.1)


def test_arm_has_flags_too() -> None:
    text = "processor : 0\nFeatures : fp asimd evtstrm aes asimdhp asimddp sve i8mm bf16 cpuid\n"
    assert flags_that_matter(text) == ("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve")
    assert flags_that_matter("") == ()


def test_this_host_can_be_read() -> None:
    with measured_window() as window:
        pass
    conditions = window.conditions
    assert conditions.cores >= 1
    assert conditions.ram_mib > conditions.memory_after_mib > 0
    assert 0 <= conditions.steal_share <= 1
