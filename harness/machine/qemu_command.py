"""The one place that knows QEMU's options."""

from dataclasses import dataclass
from pathlib import Path

GUEST_NETWORK = "10.0.2.0/24"
GUEST_ADDRESS = "10.0.2.15"
GATEWAY = "10.0.2.2"
DNS = "10.0.2.3"

DISK = "disk"
"""The name of the guest's disk in QMP commands."""

CONTEXT_DEVICE = "context-cd"
"""The name of the drive that holds the context disk."""


@dataclass(frozen=True)
class QemuCommand:
    """What one QEMU process is made of.

    `qmp_fd` is the number of a connected socket that QEMU inherits. `smbios` are OEM strings (type 11),
    through which systemd in the guest takes credentials. `cpu` is a CPU model of QEMU ("": all this
    accelerator offers), `clock` the hardware clock at power-on ("utc", or a time of UTC such as
    2030-01-31T12:00:00).
    """

    name: str
    accelerator: str
    vcpus: int
    ram_mib: int
    disk: Path
    console: Path
    qmp_fd: int
    mac: str
    context_iso: Path | None = None
    smbios: tuple[str, ...] = ()
    cpu: str = ""
    clock: str = "utc"

    def arguments(self) -> list[str]:
        """The command line. The guest does not execute until `cont`, so no byte of its console is missed.

        Nothing listens on any address yet: forwards are added through QMP, where a taken port is an answer
        and not the end of the process. IPv6 is off because slirp's router advertisement would give the guest
        a second address at some moment after it made its certificate.
        """
        # fmt: off
        arguments = [
            "qemu-system-x86_64",
            "-name", self.name,
            "-nodefaults", "-no-user-config",
            # graphics=off makes SeaBIOS and GRUB talk on the serial console too.
            "-machine", "pc,graphics=off",
            "-accel", _ACCELERATOR[self.accelerator],
            "-cpu", self.cpu or _WHOLE_CPU[self.accelerator],
            "-smp", f"{self.vcpus},sockets=1,cores={self.vcpus},threads=1",
            "-m", f"{self.ram_mib}M",
            "-display", "none", "-vga", "none",
            "-rtc", f"base={self.clock}",
            "-S",
            "-chardev", f"socket,id=qmp,fd={self.qmp_fd}",
            "-mon", "chardev=qmp,mode=control",
            "-chardev", f"file,id=console,append=on,path={_escaped(self.console)}",
            "-serial", "chardev:console",
            # unsafe: what the guest flushes goes to the host's page cache, which outlives QEMU, no further.
            # Only a crash of the host could tell the difference, and no guest outlives that.
            "-drive", f"if=none,id={DISK},format=qcow2,cache=unsafe,discard=unmap,"
                      f"file={_escaped(self.disk)}",
            "-device", f"virtio-blk-pci,drive={DISK},bootindex=0",
            "-netdev", f"user,id=net,net={GUEST_NETWORK},host={GATEWAY},dns={DNS},dhcpstart={GUEST_ADDRESS},"
                       "ipv6=off",
            # Without its option ROM: nobody boots over the network, and loading it costs time.
            "-device", f"virtio-net-pci,netdev=net,mac={self.mac},romfile=",
            "-device", "virtio-rng-pci",
        ]
        for value in self.smbios:
            arguments += ["-smbios", f"type=11,value={value.replace(',', ',,')}"]
        if self.context_iso is not None:
            # Last, and as an IDE CD-ROM: where OpenNebula attaches it on the pc machine.
            arguments += [
                "-drive", "if=none,id=context,format=raw,media=cdrom,readonly=on,"
                          f"file={_escaped(self.context_iso)}",
                "-device", f"ide-cd,drive=context,id={CONTEXT_DEVICE}",
            ]
        # fmt: on
        return arguments


_ACCELERATOR = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
_WHOLE_CPU = {"kvm": "host", "tcg": "max"}


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")
