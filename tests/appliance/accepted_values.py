"""What each kind of parameter accepts, written down a second time: the oracle of the bash validators."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from harness.parameters import Kind, Parameter

LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
HOST = rf"(?:{LABEL}(?:\.{LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])"
PEM_LONGEST = 98304
ORIGINS_LONGEST = 10000
WHITE_SPACE = b" \t\n\v\f\r"


def accepts(parameter: Parameter, value: bytes) -> bool:
    """Whether the appliance may take this value. Empty means default and is always fine."""
    return value == b"" or ORACLES[parameter.kind](parameter, value)


def _text(value: bytes) -> str:
    """Bytes as characters one to one, as bash sees them in the C locale."""
    return value.decode("latin-1")


def _password(parameter: Parameter, value: bytes) -> bool:
    text = _text(value)
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-")
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    return (
        parameter.minimum <= len(text) <= parameter.maximum
        and set(text) <= allowed
        and text.lower() not in parameter.refused
    )


def _in_range(parameter: Parameter, number: Decimal) -> bool:
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    return parameter.minimum <= number <= parameter.maximum


def _integer(parameter: Parameter, value: bytes) -> bool:
    text = _text(value)
    return (
        text.isascii()
        and text.isdigit()
        and str(int(text[:40])) == text
        and _in_range(parameter, Decimal(text))
    )


def _decimal(parameter: Parameter, value: bytes) -> bool:
    if not re.fullmatch(rb"(0|[1-9][0-9]*)(\.[0-9]{1,6})?", value):
        return False
    return len(value.split(b".")[0]) <= 6 and _in_range(parameter, Decimal(value.decode("ascii")))


def _choice(parameter: Parameter, value: bytes) -> bool:
    return _text(value) in parameter.choices


def _base64_pem(_parameter: Parameter, value: bytes) -> bool:
    if len(value) > PEM_LONGEST:
        return False
    try:
        content = base64.b64decode(value.translate(None, WHITE_SPACE), validate=True)
    except binascii.Error:
        return False
    return any(re.match(rb"[ \t]*-----BEGIN [A-Z0-9 ]*-----", line) for line in content.split(b"\n"))


def _hostname(_parameter: Parameter, value: bytes) -> bool:
    text = _text(value)
    return (
        len(text) <= 253
        and re.fullmatch(rf"{LABEL}(?:\.{LABEL})+", text, re.ASCII) is not None
        and not set(text) <= set("0123456789.")
    )


def _https_url(_parameter: Parameter, value: bytes) -> bool:
    text = _text(value)
    if len(text) > 512:
        return False
    match = re.fullmatch(rf"https://{HOST}(?::([0-9]{{1,5}}))?(?:/[A-Za-z0-9._~/%-]*)?", text, re.ASCII)
    return match is not None and 1 <= int(match[1] or 443) <= 65535


def _model_name(_parameter: Parameter, value: bytes) -> bool:
    text = _text(value)
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text) is not None and not text.lower().endswith(
        ".gguf"
    )


def _origins(_parameter: Parameter, value: bytes) -> bool:
    text = _text(value)
    if text == "*":
        return True
    origins = [origin.strip(" ") for origin in text.split(",")]
    return len(text) <= ORIGINS_LONGEST and len(origins) <= 32 and all(map(_is_origin, origins))


def _is_origin(origin: str) -> bool:
    match = re.fullmatch(rf"https?://{HOST}(?::([1-9][0-9]{{0,4}}))?", origin, re.ASCII | re.IGNORECASE)
    return match is not None and int(match[1] or 443) <= 65535


ORACLES: Mapping[Kind, Callable[[Parameter, bytes], bool]] = {
    "password": _password,
    "integer": _integer,
    "decimal": _decimal,
    "choice": _choice,
    "base64_pem": _base64_pem,
    "hostname": _hostname,
    "https_url": _https_url,
    "origins": _origins,
    "model_name": _model_name,
}
