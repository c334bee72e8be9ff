"""What a guest is at one moment: all that a reboot must keep and a change may touch, read by one command."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.cell.address import parse_report
from harness.client.certificate import read_certificate
from harness.machine.protocol import Machine
from suites.conformance.guest_facts import output, sections

ENGINE, PROXY = "slm-engine.service", "nginx.service"

CONFIGURATION = (
    "/etc/slm-copilot",
    "/etc/ssl/slm-copilot",
    "/etc/nginx",
    "/etc/one-appliance",
    "/etc/systemd/system",
    "/etc/ssh",
    "/etc/letsencrypt",
    "/etc/machine-id",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/motd",
    "/etc/motd.d",
    "/root/.ssh",
)
"""Files and whole folders; what isn't there is left out."""

NEW_WITH_A_BOOT = frozenset({"boot_id", "engine_pid", "proxy_pid"})
"""What an orderly reboot may change, and nothing else."""

SETTINGS = "files./etc/slm-copilot/certificate-settings"
"""Every judged value that is no secret and no file, for what renews the certificate between two boots."""

NEW_WITH_A_CERTIFICATE = frozenset(
    {
        "fingerprint",
        "names",
        "report.certificate",
        "files./etc/ssl/slm-copilot*",
        "files./etc/one-appliance/config",
    }
)
"""What a renewed certificate may change, and nothing else."""

GATHER = f"""
echo '== status';      cat /etc/one-appliance/status 2>/dev/null
echo '== report';      cat /etc/one-appliance/config 2>/dev/null
echo '== certificate'; cat /etc/ssl/slm-copilot/cert.pem 2>/dev/null
echo '== host keys';   grep -H '' /etc/ssh/ssh_host_*_key.pub 2>/dev/null
echo '== identity';    cat /etc/machine-id /proc/sys/kernel/random/boot_id; uname -n
echo '== addresses';   ip -j addr show
echo '== units';       systemctl show --property=Id,MainPID {ENGINE} {PROXY}
echo '== root';        stat --file-system --format='%b %S' /
echo '== motd';        cat /etc/motd /etc/motd.d/slm-copilot 2>/dev/null
echo '== listing';     find {" ".join(CONFIGURATION)} -printf '%p\\t%y\\t%04m\\t%u:%g\\t%l\\n' 2>/dev/null
echo '== hashes';      find {" ".join(CONFIGURATION)} -type f -exec sha256sum {{}} + 2>/dev/null
echo '== end'
"""


@dataclass(frozen=True)
class ConfigurationFile:
    """A file, folder or link. `kind` is find's letter (f, d, l); `content` the SHA-256 of a file, a link's
    target, empty for a folder; `mode` four octal digits; `owner` user:group."""

    kind: str
    mode: str
    owner: str
    content: str


@dataclass(frozen=True)
class GuestState:
    """One moment of a guest. What isn't there (yet) is empty, a process that doesn't run is 0."""

    status: str
    password: str = field(repr=False)
    """What the report says; masked everywhere from the moment it was read."""
    fingerprint: str
    """SHA-256 of the certificate in the file, upper-case hexadecimal with colons."""
    names: tuple[str, ...]
    """What the certificate names, sorted."""
    host_keys: Mapping[str, str]
    """Kind (ed25519, ecdsa, rsa) to fingerprint as ssh-keygen prints it."""
    machine_id: str
    hostname: str
    addresses: tuple[str, ...]
    """Global addresses without prefix length, sorted."""
    boot_id: str
    engine_pid: int
    proxy_pid: int
    """nginx's master: a reload keeps it, only its workers are new."""
    report: Mapping[str, str]
    """`section.key` to value; without the password."""
    motd: str
    """The message of the day and, below it, the reason of a failure."""
    root_bytes: int
    """Size of the root file system."""
    files: Mapping[str, ConfigurationFile]
    """CONFIGURATION, by path."""


def read_state(machine: Machine, *, timeout: float = 120) -> GuestState:
    """The guest's state now. `timeout` in seconds."""
    return parse_state(output(machine, GATHER, timeout=timeout))


def parse_state(text: str) -> GuestState:
    """The state from what the gathering command printed. Raises KeyError or ValueError for anything else."""
    part = sections(text)
    report = parse_report(part["report"])
    machine_id, boot_id, hostname = part["identity"].splitlines()
    pids = _main_pids(part["units"])
    blocks, block_size = map(int, part["root"].split())
    fingerprint, names = _certificate(part["certificate"])
    return GuestState(
        status=part["status"].strip(),
        password=report.get("connection", {}).pop("password", ""),
        fingerprint=fingerprint,
        names=names,
        host_keys=_host_keys(part["host keys"]),
        machine_id=machine_id,
        hostname=hostname,
        addresses=_addresses(part["addresses"]),
        boot_id=boot_id,
        engine_pid=pids.get(ENGINE, 0),
        proxy_pid=pids.get(PROXY, 0),
        report={f"{section}.{key}": value for section, keys in report.items() for key, value in keys.items()},
        motd=part["motd"],
        root_bytes=blocks * block_size,
        files=_files(part["listing"], part["hashes"]),
    )


def _certificate(pem: str) -> tuple[str, tuple[str, ...]]:
    if not pem.strip():
        return "", ()
    facts = read_certificate(pem)
    return facts.fingerprint_sha256, tuple(sorted(facts.names))


def _host_keys(text: str) -> dict[str, str]:
    """Lines `/etc/ssh/ssh_host_KIND_key.pub:TYPE BASE64 [COMMENT]`."""
    found = {}
    for line in text.splitlines():
        path, _, key = line.partition(":")
        kind = path.rpartition("/ssh_host_")[2].removesuffix("_key.pub")
        digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
        found[kind] = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    return found


def _addresses(text: str) -> tuple[str, ...]:
    interfaces: list[dict[str, Any]] = json.loads(text)
    return tuple(
        sorted(
            address["local"]
            for interface in interfaces
            for address in interface.get("addr_info", ())
            if address.get("scope") == "global"
        )
    )


def _main_pids(text: str) -> dict[str, int]:
    found = {}
    for block in text.split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in properties:
            found[properties["Id"]] = int(properties.get("MainPID", "0"))
    return found


def _files(listing: str, hashes: str) -> dict[str, ConfigurationFile]:
    contents = {}
    for line in hashes.splitlines():
        digest, _, path = line.partition("  ")
        contents[path] = digest
    found = {}
    for line in listing.splitlines():
        path, kind, mode, owner, target = line.split("\t")
        found[path] = ConfigurationFile(kind, mode, owner, target or contents.get(path, ""))
    return found


def difference(before: GuestState, after: GuestState, but: Iterable[str] = ()) -> str:
    """What differs, one line each; empty when nothing does.

    `but` names what may differ: a field, or one entry of a mapping (`files./etc/motd`,
    `report.connection.endpoint`); an entry that ends in * stands for all that begin so. Passwords are
    never shown.
    """
    allowed = tuple(but)
    return "\n".join(line for name, line in _changes(before, after) if not _is_allowed(name, allowed))


def _is_allowed(name: str, allowed: tuple[str, ...]) -> bool:
    return any(
        name == one or name.startswith(f"{one}.") or (one.endswith("*") and name.startswith(one[:-1]))
        for one in allowed
    )


def _changes(before: GuestState, after: GuestState) -> Iterator[tuple[str, str]]:
    for one in dataclasses.fields(GuestState):
        old, new = getattr(before, one.name), getattr(after, one.name)
        if old == new:
            continue
        if isinstance(old, Mapping):
            yield from _entry_changes(one.name, old, new)
        elif one.repr:
            yield one.name, f"{one.name}: {_shown(old)} -> {_shown(new)}"
        else:
            yield (
                one.name,
                f"{one.name}: {_presence(old)} -> {'another one' if old and new else _presence(new)}",
            )


def _entry_changes(
    name: str, old: Mapping[str, object], new: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if isinstance(was, ConfigurationFile) and isinstance(now, ConfigurationFile):
            for change in _file_changes(was, now):
                yield f"{name}.{key}", f"{key}: {change}"
        elif was != now:
            label = key if name == "files" else f"{name} {key}"
            yield f"{name}.{key}", f"{label}: {_shown(was)} -> {_shown(now)}"


def _file_changes(was: ConfigurationFile, now: ConfigurationFile) -> Iterator[str]:
    for part in ("kind", "mode", "owner"):
        old, new = getattr(was, part), getattr(now, part)
        if old != new:
            yield f"{part} {old} -> {new}"
    if was.content != now.content:
        yield f"leads to {now.content} instead of {was.content}" if now.kind == "l" else "another content"


def _shown(value: object) -> str:
    if value is None:
        return "not there"
    if isinstance(value, ConfigurationFile):
        return "there"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else repr(value)


def _presence(value: object) -> str:
    return "one" if value else "none"
