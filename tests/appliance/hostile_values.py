"""Hypothesis strategies for contexts: values that are right, nearly right, hostile, or anything at all."""

from __future__ import annotations

import base64
import string
from collections.abc import Mapping

from hypothesis import strategies as st

from harness.parameters import Kind, Parameter

CANARY = "slm-canary"
"""A program that must never run: it leaves a file behind."""

HOSTILE = [
    fragment.replace("CANARY", CANARY).encode("utf-8", "surrogateescape")
    for fragment in (
        "$(CANARY)", "`CANARY`", "${x:=$(CANARY)}", "a[$(CANARY)]", "';CANARY;'", '";CANARY;"',
        "\nCANARY\n", "|CANARY", "&&CANARY", "& CANARY &", "<(CANARY)", ">pwned", ">>pwned",
        "$'\\nCANARY'", "\\", "\\\\", "\\n", "'", '"', "''", "$", "$$", "$0", "${IFS}", "!!", "~", "*",
        "?", "[a-z]", "{a,b}", "#", "%s%n%99999d", "%00", "\n", "\r", "\r\n", "\t", "\v", "\f", " ",
        "  ", "\x01", "\x07", "\x08", "\x1b[2J", "\x1b]0;x\x07", "\x7f", "\udcff", "\udcc3(",
        "\udced\udca0\udc80", "\u00e9", "\u0663", "\uff11", "\u2028", "\u202e", "\U0001f600", "\ufeff",
        "\u200b", "\u0130", "\u017f", "\u212a", ";", "}", "};", "; return 200;", '" 1; "~.',
        "include /etc/passwd;", "\nLLAMA_ARG_HOST=0.0.0.0", "\nONEAPP_SLM_THREADS=3", "\nPATH=/tmp",
        "\n[connection]\npassword=x", "@TLS_KEY@", "&", "\\1", "-n", "-e", "--help", "0x10", "010",
        "1e3", "+1", "-1", "99999999999999999999", ".", "..", "../../etc", ",", ",,", "=", "==", "@",
        ":", "/", "//", "?x=1", "#f", "[::1]", "*.", "_",
    )
]  # fmt: skip

PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").decode()

_PASSWORD = st.text(string.ascii_letters + string.digits + "._~+/=-", min_size=8, max_size=128)
_LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
_NAME = st.lists(_LABEL, min_size=2, max_size=4).map(".".join)
_PORT = st.one_of(st.just(""), st.integers(0, 70000).map(":{}".format))
_ORIGIN = st.tuples(st.sampled_from(["http://", "https://", "HTTPS://", "ftp://", ""]), _NAME, _PORT).map(
    "".join
)

_CHOICES = ["selfsigned", "letsencrypt", "custom", "Custom", "selfsigned custom", "self"]
_URL_PARTS = st.tuples(
    st.sampled_from(["https://", "http://", "https:/"]), _NAME, _PORT, st.sampled_from(["", "/", "/dir"])
)

RIGHT: Mapping[Kind, st.SearchStrategy[str]] = {
    "password": st.one_of(_PASSWORD, st.sampled_from(["changeme", "PassWord1", "opennebula", "12345678"])),
    "integer": st.one_of(st.integers(0, 1100), st.integers(0, 10**7)).map(str),
    "decimal": st.one_of(
        st.decimals(0, 3, places=2, allow_nan=False).map(str),
        st.sampled_from(["2.000001", "2.0", "0", "00.1", ".5", "1."]),
    ),
    "choice": st.sampled_from(_CHOICES),
    "base64_pem": st.one_of(
        st.just(PEM),
        st.integers(1, 70).map(lambda n: PEM[:n] + "\n" + PEM[n:]),
        st.integers(0, 79).map(lambda n: PEM[:n]),
    ),
    "hostname": st.one_of(
        _NAME, _LABEL, st.sampled_from(["10.0.0.1", "a-.example", "xn--a.example", "A.Example"])
    ),
    "https_url": _URL_PARTS.map("".join),
    "origins": st.one_of(
        st.just("*"),
        _ORIGIN,
        st.lists(_ORIGIN, min_size=1, max_size=5).map(", ".join),
        st.integers(1, 40).map(lambda n: ",".join(["https://a.example"] * n)),
    ),
    "model_name": st.one_of(
        st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=70),
        st.sampled_from(["qwen2.5-coder-7b", "Model.GGUF", "a.gguf", ".a", "-a", "_a", "a", "a/b"]),
    ),
}
"""Mostly right values, some of them just beside what is accepted."""

_LONG = st.sampled_from([129, 254, 513, 4096, 10001, 98305, 120_000])


def _spoilt(value: bytes, fragment: bytes, place: float) -> bytes:
    at = int(place * len(value))
    return value[:at] + fragment + value[at:]


def values(parameter: Parameter) -> st.SearchStrategy[bytes]:
    """Right values, right ones with something hostile inside, hostile ones, any text or bytes; no NUL."""
    right = RIGHT[parameter.kind].map(str.encode)
    hostile = st.sampled_from(HOSTILE)
    return st.one_of(
        right,
        right,
        st.builds(_spoilt, right, hostile, st.floats(0, 1)),
        st.lists(hostile, min_size=1, max_size=3).map(b"".join),
        st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
        st.binary(max_size=40),
        st.builds(lambda piece, length: (piece * length)[:length], st.one_of(hostile, st.just(b"a")), _LONG),
    ).map(lambda value: value.replace(b"\0", b"\x01"))


def unknown_names(known: frozenset[str]) -> st.SearchStrategy[str]:
    """Names that begin as ours do and are none of ours."""
    rest = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=40)
    return rest.map("ONEAPP_SLM_".__add__).filter(lambda name: name not in known)


def contexts(parameters: tuple[Parameter, ...]) -> st.SearchStrategy[dict[str, bytes]]:
    """Up to four parameters with a value each, sometimes beside an unknown name."""
    known = frozenset(parameter.name for parameter in parameters)
    one = st.one_of(
        *(st.tuples(st.just(parameter.name), values(parameter)) for parameter in parameters),
        st.tuples(unknown_names(known), st.sampled_from(HOSTILE)),
    )
    return st.lists(one, min_size=1, max_size=4).map(dict)
