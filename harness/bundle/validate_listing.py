"""Rules of `<uuid>.yaml`, the marketplace's entry, and of the VM template in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from harness.bundle.product import STANDIN
from harness.bundle.user_inputs import user_input_problem

TEXTS = (
    "name", "version", "one-apps_version", "publisher", "publisher_email", "description", "short_description",
    "format", "os-id", "os-release", "os-arch", "hypervisor", "opennebula_version", "logo",
)  # fmt: skip
CHOICES = {
    "format": ("qcow2", "raw", "vmdk"),
    "os-arch": ("x86_64", "aarch64"),
    "hypervisor": ("KVM", "ALL"),
}
CONTEXT = {
    "network": "YES",
    "token": "YES",
    "report_ready": "YES",
    "set_hostname": "$NAME",
    "ssh_public_key": "$USER[SSH_PUBLIC_KEY]",
}
KNOWN = {*TEXTS, "tags", "creation_time", "opennebula_template", "images"}
FIRST_OPENNEBULA = 1_200_000_000
"""Seconds since 1970: before the first release of OpenNebula no appliance was made."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_VERSIONS = re.compile(r"\d+\.\d+(, ?\d+\.\d+)*")
_ONE_APPS = re.compile(r"\d+\.\d+\.\d+(-\d+)?")
_PARAMETER = "oneapp_"


def listing_problems(listing: Mapping[str, Any], file: str, name: str, *, upload: bool) -> Iterator[str]:
    """What is wrong with an entry. `file` is its file's name, `name` the appliance's folder."""
    yield from _top_problems(listing, file, name, upload=upload)
    template = listing.get("opennebula_template")
    if isinstance(template, dict):
        for problem in template_problems(template, name):
            yield f"opennebula_template: {problem}"
    else:
        yield "opennebula_template: is no mapping"
    yield from _image_problems(listing, upload=upload)


def _top_problems(listing: Mapping[str, Any], file: str, name: str, *, upload: bool) -> Iterator[str]:
    for key in TEXTS:
        value = listing.get(key)
        if not isinstance(value, str) or not value.strip():
            yield f"{key}: must be a text, not {value!r} (quote it)"
    for key in ("id", "_id"):
        if key in listing and listing[key] != file.removesuffix(".yaml"):
            yield f"{key}: {listing[key]!r} isn't the file's name, which is the identity"
    if "type" in listing:
        yield "type: must be absent for an image"
    if unknown := sorted(str(key) for key in listing if key not in KNOWN | {"id", "_id", "type"}):
        yield f"{unknown[0]}: is no key of an entry"
    for key, accepted in CHOICES.items():
        if listing.get(key) not in accepted:
            yield f"{key}: must be one of {', '.join(accepted)}, not {listing.get(key)!r}"
    tags = listing.get("tags")
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) and tag for tag in tags):
        yield "tags: must be a list of texts"
    elif len(set(tags)) != len(tags):
        yield "tags: has one twice"
    created = listing.get("creation_time")
    if type(created) is not int or created < FIRST_OPENNEBULA:
        yield f"creation_time: must be whole seconds since 1970, not {created!r}"
    if not _VERSIONS.fullmatch(str(listing.get("opennebula_version"))):
        yield "opennebula_version: must be versions like '6.10, 7.0' in one text"
    if listing.get("logo") != f"{name}.png":
        yield f"logo: must be {name}.png, a file name without folders"
    email = str(listing.get("publisher_email"))
    if not _EMAIL.fullmatch(email):
        yield f"publisher_email: {email!r} is no address"
    if upload:
        if email.endswith(".invalid"):
            yield "publisher_email: is still the one that stands for none"
        if not _ONE_APPS.fullmatch(str(listing.get("one-apps_version"))):
            yield f"one-apps_version: must be like 7.2.1-0, not {listing.get('one-apps_version')!r}"
    elif not re.fullmatch(rf"{_ONE_APPS.pattern}|{STANDIN}", str(listing.get("one-apps_version"))):
        yield f"one-apps_version: must be like 7.2.1-0 or {STANDIN}"


def template_problems(template: Mapping[str, Any], name: str) -> Iterator[str]:
    """What is wrong with a VM template. Its keys are taken in upper case by the client."""
    yield from _leaf_problems(template, "")
    yield from _twins(template, "")
    low = _lower(template)
    for key in ("disk", "disks"):
        if key in low:
            yield f"{key}: must be absent, the image comes with the entry"
    yield from _size_problems(low)
    for path, accepted in (
        (("cpu_model", "model"), ("host-passthrough",)),
        (("os", "arch"), ("x86_64", "aarch64")),
        (("nic_default", "model"), ("virtio",)),
        (("graphics", "type"), ("vnc", "spice")),
        (("logo",), (f"images/logos/{name}.png",)),
    ):
        value: Any = low
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value not in accepted:
            yield f"{'.'.join(path)}: must be {' or '.join(accepted)}, not {value!r}"
    context, inputs = low.get("context"), low.get("user_inputs")
    if not isinstance(context, dict) or not isinstance(inputs, dict):
        yield "context and user_inputs: must be mappings"
        return
    yield from _context_problems(context, inputs)
    yield from _input_problems(inputs, low.get("inputs_order"))


def _leaf_problems(value: object, where: str) -> Iterator[str]:
    """One leaf that is no text makes the client's driver drop the whole template."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaf_problems(one, f"{where}.{key}" if where else str(key))
    elif not isinstance(value, str):
        yield f"{where}: must be a text, not {value!r} (quote it)"
    elif not value.strip():
        yield f"{where}: is empty"
    elif '"' in value:
        yield f"{where}: holds a double quote, which nothing escapes on its way into the template"


def _twins(value: object, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    seen: set[str] = set()
    for key, one in value.items():
        if str(key).upper() in seen:
            yield f"{where}{key}: is given twice, for case doesn't count"
        seen.add(str(key).upper())
        yield from _twins(one, f"{where}{key}.")


def _lower(value: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).lower(): _lower(one) if isinstance(one, dict) else one for key, one in value.items()}


def _size_problems(low: Mapping[str, Any]) -> Iterator[str]:
    for key, pattern, words in (
        ("cpu", r"\d+(\.\d+)?", "a number"),
        ("vcpu", r"[1-9]\d*", "a whole number; without it the VM has one"),
        ("memory", r"[1-9]\d*", "whole MiB"),
    ):
        if not re.fullmatch(pattern, str(low.get(key, ""))):
            yield f"{key}: must be {words}, not {low.get(key)!r}"


def _context_problems(context: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    for key, wanted in CONTEXT.items():
        if context.get(key) != wanted:
            yield f"context.{key}: must be {wanted!r}, not {context.get(key)!r}"
    for key, value in context.items():
        if not key.startswith(_PARAMETER):
            continue
        if value != f"${key.upper()}":
            yield f"context.{key}: must be ${key.upper()}; anything else hides what the user answers"
        if key not in inputs:
            yield f"context.{key}: nobody is asked for it, user_inputs lacks it"
    for key in inputs:
        if key not in context:
            yield f"user_inputs.{key}: the answer goes nowhere, context lacks it"


def _input_problems(inputs: Mapping[str, Any], order: object) -> Iterator[str]:
    for key, value in inputs.items():
        if isinstance(value, str) and (problem := user_input_problem(value)):
            yield f"user_inputs.{key}: {problem}"
    told = str(order).split(",") if order else []
    wanted = [key.upper() for key in inputs]
    if sorted(told) != sorted(wanted):
        yield "inputs_order: must name each of user_inputs once, in upper case, joined by commas"


def _image_problems(listing: Mapping[str, Any], *, upload: bool) -> Iterator[str]:
    images = listing.get("images")
    if not isinstance(images, list) or len(images) != 1 or not isinstance(images[0], dict):
        yield "images: must be a list with one image, for the client takes only the first"
        return
    image = images[0]
    for key, wanted in (("type", "OS"), ("dev_prefix", "vd"), ("driver", listing.get("format"))):
        if image.get(key) != wanted:
            yield f"images.{key}: must be {wanted}, not {image.get(key)!r}"
    if not isinstance(image.get("name"), str) or not image["name"].strip():
        yield "images.name: must be a text"
    size = image.get("size")
    if type(size) is not int or size <= 0:
        yield f"images.size: must be whole bytes, not {size!r}"
    checksum = image.get("checksum")
    for kind, digits in (("md5", 32), ("sha256", 64)):
        value = checksum.get(kind) if isinstance(checksum, dict) else None
        if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
            yield f"images.checksum.{kind}: must be {digits} lower-case hexadecimal digits"
    try:
        url = urlsplit(str(image.get("url", "")))
    except ValueError:
        url = urlsplit("")
    if url.scheme not in ("https", "http") or not url.hostname:
        yield f"images.url: {image.get('url')!r} is no address to download from"
    elif upload and url.hostname.endswith(".invalid"):
        yield "images.url: is still the address that stands for none"
