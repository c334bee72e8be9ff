"""What oned puts into the context of a VM made from a marketplace template."""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from harness.context.variables import render_context_sh
from harness.errors import HarnessError
from harness.parameters import load_parameters

NIC_KEYS = (
    "DNS",
    "EXTERNAL",
    "GATEWAY",
    "IP",
    "IP6",
    "IP6_GATEWAY",
    "IP6_METHOD",
    "IP6_METRIC",
    "IP6_PREFIX_LENGTH",
    "IP6_ULA",
    "MAC",
    "MASK",
    "METHOD",
    "METRIC",
    "MTU",
    "NETWORK",
    "ROUTES",
    "SEARCH_DOMAIN",
    "VLAN_ID",
    "VROUTER_IP",
    "VROUTER_IP6",
    "VROUTER_MANAGEMENT",
)
"""ETHx_* of every NIC of a VM with NETWORK=YES; those nobody set are there with an empty value
(NETWORK_CONTEXT and NETWORK6_CONTEXT in VirtualMachineContext.cc)."""


@dataclass(frozen=True)
class Nic:
    """The guest's first network card. `address` carries the netmask: 10.0.2.15/24.

    `mac_of` is the address its MAC was made from, where that is not the present one.
    """

    address: ipaddress.IPv4Interface
    gateway: ipaddress.IPv4Address
    dns: str = ""
    mac_of: ipaddress.IPv4Address | None = None

    @property
    def mac(self) -> str:
        """02:00 and the four bytes of an address, which is how OpenNebula makes MAC addresses."""
        return "02:00:" + ":".join(f"{byte:02x}" for byte in (self.mac_of or self.address.ip).packed)

    def moved_to(self, address: ipaddress.IPv4Interface) -> "Nic":
        """The same card with another address. Raises HarnessError for one outside its network."""
        network = self.address.network
        if address.ip not in network or address.ip in (self.gateway, network.network_address):
            raise HarnessError(
                f"a guest at {self.address} can't move to {address.ip}",
                hint=f"choose an address in {network} other than {self.gateway}",
            )
        moved = ipaddress.IPv4Interface(f"{address.ip}/{network.prefixlen}")
        return replace(self, address=moved, mac_of=self.mac_of or self.address.ip)


def oned_context(
    nic: Nic,
    *,
    ssh_public_key: str,
    hostname: str,
    oneapp: Mapping[str, str],
    vm_id: int = 0,
    onegate_endpoint: str | None = None,
    target: str = "hda",
    others: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The context variables of a VM, sorted by name.

    `oneapp` are user inputs (ONEAPP_*); those of parameters.yaml that are not given come as empty strings,
    as a marketplace template makes them. `onegate_endpoint` is by default where the host runs OneGate as the
    guest sees it: the gateway, port 5030. `others` are any further variables; they win over those made here.
    """
    variables = dict.fromkeys(parameter_names(), "")
    variables |= {f"ETH0_{key}": "" for key in NIC_KEYS}
    variables |= {
        "DISK_ID": "1",
        "ETH0_DNS": nic.dns,
        "ETH0_GATEWAY": str(nic.gateway),
        "ETH0_IP": str(nic.address.ip),
        "ETH0_MAC": nic.mac,
        "ETH0_MASK": str(nic.address.netmask),
        "ETH0_NETWORK": str(nic.address.network.network_address),
        "NETWORK": "YES",
        "ONEGATE_ENDPOINT": onegate_endpoint or f"http://{nic.gateway}:5030",
        "REPORT_READY": "YES",
        "SET_HOSTNAME": hostname,
        "SSH_PUBLIC_KEY": ssh_public_key,
        "TARGET": target,
        "TOKEN": "YES",
        "VMID": str(vm_id),
    }
    variables |= {**oneapp, **(others or {})}
    return dict(sorted(variables.items()))


def parameter_names() -> list[str]:
    """The ONEAPP_* names the appliance offers as user inputs."""
    try:
        return [parameter.name for parameter in load_parameters()]
    except (OSError, ValueError) as error:
        raise HarnessError(f"appliance/parameters.yaml cannot be read: {error}") from error


def onegate_token(vm_id: int, start_time: int, password: str) -> bytes:
    """token.txt: "vmid:start time" in AES-256-CBC, base64 and a newline.

    Key and vector as in one_util::aes256cbc_encrypt: the first 32 bytes of the token password (64 hexadecimal
    digits in a real installation) and zeros.
    """
    key = password.encode()[:32]
    if len(key) < 32:
        raise ValueError("a token password has at least 32 characters")
    padder = padding.PKCS7(128).padder()
    padded = padder.update(f"{vm_id}:{start_time}".encode()) + padder.finalize()
    # A fixed vector is oned's choice, and the guest only ever hands the token back.
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(bytes(16))).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()) + b"\n"


def context_files(variables: Mapping[str, str], token: bytes) -> dict[str, bytes]:
    """What stands at the root of the context ISO: file name to content."""
    files = {"context.sh": render_context_sh(variables)}
    if variables.get("TOKEN", "").upper() == "YES":
        files["token.txt"] = token
    return files
