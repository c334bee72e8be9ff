"""A network for one container: a virtual cable between the host and the container's eth0."""

import fcntl
import re
import subprocess
import time
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import IO

from harness.context.oned import Nic
from harness.errors import HarnessError

LOCKS = Path("/run/lock")
SUBNETS = 250


class ContainerNetwork:
    """10.213.N.0/24, the host at .1 and the container at .2, with an N nobody else on this host has.

    The cable dies with the container's network namespace; what has to be given back is N and the host's
    address, which is there from `announce` on, so that servers can bind to it before the container runs.
    """

    def __init__(self) -> None:
        self.number, self._lock = _reserve()
        self._announced = False
        self.interface = f"slm{self.number}"
        self.host = IPv4Interface(f"10.213.{self.number}.1/24")
        self.nic = Nic(
            address=IPv4Interface(f"10.213.{self.number}.2/24"),
            gateway=IPv4Address(f"10.213.{self.number}.1"),
            dns=f"10.213.{self.number}.1",
        )

    def announce(self) -> None:
        """Give the host its address. The loopback keeps it while there is no cable."""
        _forget_addresses_of_the_dead()
        self._announced = True
        _ip("address", "replace", f"{self.host.ip}/32", "dev", "lo")

    def plug_in(self, process: int) -> None:
        """Lay the cable into the network namespace of `process`, as its eth0."""
        _wait_for_own_network(process)
        # The cable of a container that died a moment ago may still be on its way out.
        subprocess.run(["ip", "link", "delete", self.interface], capture_output=True, check=False)
        # fmt: off
        _ip(
            "link", "add", self.interface, "type", "veth",
            "peer", "name", "eth0", "address", self.nic.mac, "netns", str(process),
        )
        # fmt: on
        _ip("address", "add", str(self.host), "dev", self.interface)
        _ip("link", "set", self.interface, "up")

    def close(self) -> None:
        if self._announced:
            _withdraw(str(self.host.ip))
            self._announced = False
        self._lock.close()


def _reserve() -> tuple[int, IO[str]]:
    LOCKS.mkdir(parents=True, exist_ok=True)
    for number in range(SUBNETS):
        if (lock := _locked(number)) is not None:
            return number, lock
    raise HarnessError(f"all {SUBNETS} networks for containers are in use")


def _locked(number: int) -> IO[str] | None:
    file = (LOCKS / f"slm-copilot-network-{number}").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _forget_addresses_of_the_dead() -> None:
    """Take away the host's addresses of runs that were killed: their lock is free."""
    shown = subprocess.run(
        ["ip", "-o", "-4", "address", "show", "dev", "lo"], capture_output=True, text=True, check=False
    )
    for number in re.findall(r" 10\.213\.(\d+)\.1/32 ", shown.stdout):
        if (lock := _locked(int(number))) is not None:
            with lock:
                _withdraw(f"10.213.{number}.1")


def _withdraw(address: str) -> None:
    command = ["ip", "address", "delete", f"{address}/32", "dev", "lo"]
    subprocess.run(command, capture_output=True, check=False, timeout=10)


def _wait_for_own_network(process: int, seconds: float = 5) -> None:
    ours = Path("/proc/self/ns/net").readlink()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{process}/ns/net").readlink() != ours:
                return
        except OSError:
            break
        time.sleep(0.01)
    raise HarnessError("the container's network namespace was not made (unshare failed)")


def _ip(*arguments: str) -> None:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=10)
    if result.returncode != 0:
        raise HarnessError(f"the container's network could not be made: {result.stderr.strip()}")
