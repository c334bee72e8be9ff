"""QEMU's command line, word by word."""

from pathlib import Path

import pytest

from harness.machine.qemu_command import QemuCommand

GOLDEN = """\
qemu-system-x86_64
-name slm-qemu-1
-nodefaults
-no-user-config
-machine pc,graphics=off
-accel tcg,thread=multi
-cpu max
-smp 2,sockets=1,cores=2,threads=1
-m 2048M
-display none
-vga none
-rtc base=utc
-S
-chardev socket,id=qmp,fd=5
-mon chardev=qmp,mode=control
-chardev file,id=console,append=on,path=/w/console.log
-serial chardev:console
-drive if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=/w/disk.qcow2
-device virtio-blk-pci,drive=disk,bootindex=0
-netdev user,id=net,net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,dhcpstart=10.0.2.15,ipv6=off
-device virtio-net-pci,netdev=net,mac=02:00:0a:00:02:0f,romfile=
-device virtio-rng-pci
-drive if=none,id=context,format=raw,media=cdrom,readonly=on,file=/w/context.iso
-device ide-cd,drive=context,id=context-cd
"""


def command(**changes: object) -> list[str]:
    values: dict[str, object] = {
        "name": "slm-qemu-1",
        "accelerator": "tcg",
        "vcpus": 2,
        "ram_mib": 2048,
        "disk": Path("/w/disk.qcow2"),
        "console": Path("/w/console.log"),
        "qmp_fd": 5,
        "mac": "02:00:0a:00:02:0f",
        "context_iso": Path("/w/context.iso"),
        **changes,
    }
    return QemuCommand(**values).arguments()  # type: ignore[arg-type]


def in_lines(arguments: list[str]) -> str:
    return (
        "".join(
            word if index == 0 else f"\n{word}" if word.startswith("-") else f" {word}"
            for index, word in enumerate(arguments)
        )
        + "\n"
    )


def test_golden() -> None:
    assert in_lines(command()) == GOLDEN


def test_kvm_uses_the_hosts_cpu() -> None:
    assert in_lines(command(accelerator="kvm")) == GOLDEN.replace(
        "-accel tcg,thread=multi\n-cpu max", "-accel kvm\n-cpu host"
    )


def test_commas_in_paths_and_credentials_are_doubled() -> None:
    arguments = command(disk=Path("/w,1/d.qcow2"), smbios=("io.systemd.credential:a=1,2",), context_iso=None)
    assert "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=/w,,1/d.qcow2" in arguments
    assert arguments[-2:] == ["-smbios", "type=11,value=io.systemd.credential:a=1,,2"]
    assert not any("cdrom" in word for word in arguments)


@pytest.mark.parametrize("word", ["hostfwd", "tcp:", "telnet", "vnc", "0.0.0.0"])  # noqa: S104
def test_nothing_listens_on_any_address(word: str) -> None:
    assert word not in " ".join(command())


def test_a_cpu_model_takes_the_place_of_the_whole_cpu() -> None:
    arguments = command(cpu="Nehalem")
    assert arguments[arguments.index("-cpu") + 1] == "Nehalem"


def test_the_hardware_clock_can_be_another() -> None:
    arguments = command(clock="2030-01-31T12:00:00")
    assert arguments[arguments.index("-rtc") + 1] == "base=2030-01-31T12:00:00"
