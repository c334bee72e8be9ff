"""Secrets never reach a log, a report or an exception: one registry masks them in every form."""

import base64
import html
import json
import os
import re
import tempfile
import threading
import urllib.parse
from pathlib import Path

SHORTEST_SECRET = 6
"""Characters. Masking anything shorter would shred ordinary text and tell the reader what the secret is."""

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?P<kind>[A-Z0-9 ]*)PRIVATE KEY-----"
    rb"(?:(?:(?!-----BEGIN ).){0,20000}?-----END (?P=kind)PRIVATE KEY-----|[A-Za-z0-9+/=\s\\]*)",
    re.DOTALL,
)
# The base64 of a PEM block (how ONEAPP_SLM_TLS_KEY travels) begins like this; certificates are public.
_ENCODED_PRIVATE_KEY = re.compile(rb"LS0tLS1CRUdJTi(?!BDRVJU)[A-Za-z0-9+/_=-]+")


class Redactor:
    """Replaces registered secrets by `[redacted: LABEL]`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._masks: dict[bytes, bytes] = {}
        self._pattern: re.Pattern[bytes] | None = None
        self._lock = threading.Lock()

    def add(self, secret: str, label: str, *, username: str = "admin") -> None:
        """Mask `secret` from now on. Empty secrets are ignored.

        Raises ValueError when the secret is shorter than SHORTEST_SECRET characters.
        """
        if not secret:
            return
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(f"the secret {label!r} is too short to be masked (under {SHORTEST_SECRET})")
        mask = f"[redacted: {label}]".encode()
        with self._lock:
            for form in _forms(secret, username):
                self._masks.setdefault(form, mask)
            # Longest first: of two secrets that begin alike, the longer one must win whole.
            longest_first = sorted(self._masks, key=len, reverse=True)
            self._pattern = re.compile(b"|".join(re.escape(form) for form in longest_first))

    def redact_bytes(self, data: bytes) -> bytes:
        with self._lock:
            pattern, masks = self._pattern, dict(self._masks)
        if pattern is not None:
            data = pattern.sub(lambda match: masks[match.group()], data)
        data = _PRIVATE_KEY.sub(b"[redacted: private key]", data)
        return _ENCODED_PRIVATE_KEY.sub(b"[redacted: private key]", data)

    def redact(self, text: str) -> str:
        return self.redact_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def redact_tree(self, folder: Path) -> list[Path]:
        """Rewrite every regular file below `folder` that holds a secret; returns the files that changed.

        Symbolic links are neither followed nor touched. A file is replaced atomically, keeping its mode.
        """
        changed = []
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            before = path.read_bytes()
            after = self.redact_bytes(before)
            if after != before:
                _replace(path, after)
                changed.append(path)
        return changed


def _forms(secret: str, username: str) -> set[bytes]:
    """The secret as URLs, JSON, HTML, XML, shell quotes, HTTP Basic and any base64 carry it."""
    raw = secret.encode()
    as_json = json.dumps(secret)[1:-1]
    texts = {
        secret,
        as_json,
        as_json.replace("/", "\\/"),
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        html.escape(secret),
        html.escape(secret, quote=False),
        secret.replace("'", "'\\''"),
    }
    forms = {text.encode() for text in texts}
    for plain in (raw, f"{username}:{secret}".encode()):
        forms |= {base64.b64encode(plain), base64.urlsafe_b64encode(plain)}
        forms |= {form.rstrip(b"=") for form in tuple(forms)}
    forms |= _base64_cores(raw)
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


def _base64_cores(raw: bytes) -> set[bytes]:
    """The characters that any base64 of a longer text with `raw` inside must contain, for each alignment."""
    cores = set()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        first = -(-shift * 4 // 3)  # characters that also depend on what stands before the secret
        last = (shift + len(raw)) * 8 // 6  # characters that do not depend on what follows it
        core = encoded[first:last]
        # Shorter ones would match by chance somewhere in a page of base64.
        if len(core) >= 8:
            cores |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return cores


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


REDACTOR = Redactor()
"""The process-wide registry: register a secret here the moment it is made or read."""
