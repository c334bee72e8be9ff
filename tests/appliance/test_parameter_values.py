"""What is accepted for each parameter, what is refused, and how the refusal reads."""

from __future__ import annotations

import base64

import pytest
from bash_guest import Guest

from harness.parameters import load_parameters

PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").decode()
SHOW = 'for label in "${!SLM_VALUE[@]}"; do printf "%s=%s\\n" "$label" "${SLM_VALUE[$label]}"; done'

GOOD = {
    "ONEAPP_SLM_ADMIN_PASSWORD": ["Abcdefg1", "a.b_c~d+e/f=g-h", "x" * 128],
    "ONEAPP_SLM_CONTEXT_SIZE": ["512", "8192", "262144"],
    "ONEAPP_SLM_THREADS": ["0", "1", "1024"],
    "ONEAPP_SLM_TLS_MODE": ["selfsigned", "letsencrypt", "custom"],
    "ONEAPP_SLM_TLS_CERT": [PEM, PEM[:40] + "\n" + PEM[40:] + "\n"],
    "ONEAPP_SLM_TLS_KEY": [base64.b64encode(b"-----BEGIN PRIVATE KEY-----\nMC4=\n").decode()],
    "ONEAPP_SLM_DOMAIN": ["copilot.example.org", "a.b", "xn--bcher-kva.example", "Copilot.Example.ORG"],
    "ONEAPP_SLM_ACME_DIRECTORY": [
        "https://acme-v02.api.letsencrypt.org/directory",
        "https://10.0.2.2:14000/dir",
        "https://[2001:db8::1]:14000/a-b_c~d/%41",
        "https://ca",
    ],
    "ONEAPP_SLM_ACME_CA": [PEM, PEM[:40] + "\n" + PEM[40:] + "\n"],
    "ONEAPP_SLM_CORS_ORIGINS": [
        "*",
        "https://ide.example.org",
        "http://localhost:3000, https://a.example:8443",
        "https://[2001:db8::1]:9443",
        ",".join(f"https://h{n}.example" for n in range(32)),
    ],
    "ONEAPP_SLM_MODEL_TEMPERATURE": ["0", "0.15", "2", "2.0", "1.999999"],
    "ONEAPP_SLM_SECOND_MODEL": ["qwen2.5-coder-7b", "Qwen2.5_Coder", "7b", "x" * 64],
}
BAD = {
    "ONEAPP_SLM_ADMIN_PASSWORD": [
        "sh0rt7!",
        "x" * 129,
        "with blank1",
        "quote'quote",
        'double"quote',
        "dollar$(id)x",
        "back`id`tick",
        "semi;colon1",
        "newline\nnewline",
        "back\\slash1",
        "ümläut-ümläut",
        "col:on:colon",
        "{brace}brace",
        "changeme",
        "ChangeMe",
        "PASSWORD",
        "12345678",
        "opennebula",
    ],
    "ONEAPP_SLM_CONTEXT_SIZE": [
        "511",
        "262145",
        "0",
        "-1",
        "8k",
        "08192",
        "0x2000",
        "8192.0",
        " 8192",
        "1e4",
        "8192;id",
    ],
    "ONEAPP_SLM_THREADS": ["-1", "1025", "two", "01", "1.5", "a[$(touch /tmp/x)]", "99999999999999999999"],
    "ONEAPP_SLM_TLS_MODE": [
        "self-signed",
        "Selfsigned",
        "selfsigned letsencrypt",
        "none",
        "tls_custom_check; id",
    ],
    "ONEAPP_SLM_TLS_CERT": [
        "no base64 at all!",
        base64.b64encode(b"hello").decode(),
        "-----BEGIN CERTIFICATE-----",
    ],
    "ONEAPP_SLM_TLS_KEY": ["no base64 at all!", base64.b64encode(b"hello").decode()],
    "ONEAPP_SLM_DOMAIN": [
        "localhost",
        "10.0.0.1",
        "-a.example",
        "a..example",
        "a.example.",
        "*.example.org",
        "a_b.example",
        "https://a.example",
        "a.example,IP:6.6.6.6",
        "a.example\nDNS:evil",
        "x" * 64 + ".example",
        "a.example;return",
    ],
    "ONEAPP_SLM_ACME_DIRECTORY": [
        "http://ca.example.org/directory",
        "ca.example.org/directory",
        "https://",
        "https:///directory",
        "https://user@ca.example.org/directory",
        "https://user:word@ca.example.org/directory",
        "https://ca.example.org/directory?a=b",
        "https://ca.example.org/directory#a",
        "https://ca.example.org:0/directory",
        "https://ca.example.org:65536/directory",
        "https://ca.example.org/dir ectory",
        "https://ca.example.org/\nserver = evil",
        'https://ca.example.org/"x"',
        "https://ca..example/",
        "https://ca.example.org/" + "x" * 512,
    ],
    "ONEAPP_SLM_ACME_CA": ["no base64 at all!", base64.b64encode(b"hello").decode()],
    "ONEAPP_SLM_CORS_ORIGINS": [
        "ide.example.org",
        "https://ide.example.org/",
        "https://ide.example.org/path",
        "ftp://ide.example.org",
        "https://",
        "https://a.example:0",
        "https://a.example:65536",
        "https://a.example,*",
        "https://a.example,,https://b.example",
        "https://a.example,",
        'https://a.example" $evil; #',
        "https://a.example\nhttps://b.example",
        "https://user@a.example",
        "https://*.example.org",
        ",".join(f"https://h{n}.example" for n in range(33)),
    ],
    "ONEAPP_SLM_MODEL_TEMPERATURE": [
        "-0.1",
        "2.01",
        "hot",
        "0,15",
        ".5",
        "1.",
        "1e0",
        "nan",
        "inf",
        "0.15 ",
        "1;system(1)",
    ],
    "ONEAPP_SLM_SECOND_MODEL": [
        "../etc/passwd",
        "/opt/model",
        "-model",
        ".hidden",
        "model.gguf",
        "Model.GGUF",
        "two models",
        "a,b",
        "a$(id)",
        "a\nb",
        'a"b',
        "mödel",
        "x" * 65,
    ],
}


def configure_with_each(guest: Guest, name: str, values: list[str]) -> list[tuple[int, list[str]]]:
    """Run the configure stage once a value, in one bash for speed; exit status and what it said, in order.

    Only the first failure is written into MOTD and report, which test_stages.py reads: that takes longest.
    """
    folder = guest.path("/outcomes")
    folder.mkdir()
    (folder / "values").write_bytes(b"".join(value.encode() + b"\0" for value in values))
    guest.run(
        """
n=0
while IFS= read -r -d '' value; do
  status=0
  set +e
  (
    set -e
    trap 'set +e; service_cleanup' EXIT
    export "$NAME=$value"
    service_configure
  ) >"$SLM_ROOT/outcomes/$n" 2>&1 </dev/null
  echo $? >"$SLM_ROOT/outcomes/$n.status"
  n=$((n + 1))
  write_failure_report() { :; }
  write_atomically() { :; }
done <"$SLM_ROOT/outcomes/values"
exit 0""",
        NAME=name,
    )
    return [
        (
            int((folder / f"{n}.status").read_text()),
            (folder / str(n)).read_text(encoding="utf-8").splitlines(),
        )
        for n in range(len(values))
    ]


def test_the_tables_cover_every_parameter() -> None:
    names = [parameter.name for parameter in load_parameters()]
    assert list(GOOD) == names
    assert list(BAD) == names


def test_empty_and_absent_mean_default(guest: Guest) -> None:
    absent = guest.run(f"validate_parameters; {SHOW}").stdout
    empty = guest.run(f"validate_parameters; {SHOW}", **dict.fromkeys(GOOD, "")).stdout
    assert sorted(absent.splitlines()) == sorted(f"{p.label}={p.default}" for p in load_parameters())
    assert sorted(empty.splitlines()) == sorted(absent.splitlines())


@pytest.mark.parametrize("name", list(GOOD))
def test_good_values_arrive(guest: Guest, name: str) -> None:
    parameter = next(p for p in load_parameters() if p.name == name)
    for value in GOOD[name]:
        shown = guest.run(
            f'validate_parameters; printf "%s" "${{SLM_VALUE[{parameter.label}]}}"', **{name: value}
        )
        assert shown.stdout == ("".join(value.split()) if parameter.kind == "base64_pem" else value)


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_value_is_one_line_that_helps_and_is_never_run(guest: Guest, name: str) -> None:
    parameter = next(p for p in load_parameters() if p.name == name)
    witness = guest.path("/witness")
    attacks = [f"$(touch {witness})", f"`touch {witness}`", f"x[$(touch {witness})]", f"';touch {witness};'"]
    values = BAD[name] + attacks
    for value, (status, said) in zip(values, configure_with_each(guest, name, values), strict=True):
        errors = [line for line in said if "ERROR" in line]
        assert status == 1, f"{value!r} was accepted"
        assert len(errors) == 1, said
        assert f"{name}: " in errors[0]
        assert errors[0].endswith(f"; accepted: {parameter.accepted}"), errors
        assert said[-1] == errors[0], "something went on after the error"
        assert "user:word" not in errors[0]
        if parameter.secret:
            everything = (
                "\n".join(said)
                .replace("well-known password", "")
                .replace(parameter.accepted, "")
                .replace(name, "")
            )
            assert not any(part in everything for part in value.splitlines() if len(part) > 4)
    assert len(guest.console()) == len(values)
    assert not witness.exists()
    if parameter.secret:
        console = (
            "\n".join(guest.console())
            .replace("well-known password", "")
            .replace(parameter.accepted, "")
            .replace(name, "")
        )
        assert not any(part in console for value in values for part in value.splitlines() if len(part) > 4)


def test_nothing_is_written_when_a_value_is_bad(guest: Guest) -> None:
    guest.configure(check=False, ONEAPP_SLM_MODEL_TEMPERATURE="hot")
    assert not guest.path("/etc/slm-copilot").exists()
    assert not guest.path("/etc/ssl/slm-copilot").exists()
    assert guest.path("/etc/nginx/sites-enabled/default").exists()
    assert guest.told_systemctl() == []


def test_an_unknown_name_is_a_warning_without_its_value(guest: Guest) -> None:
    result = guest.run("validate_parameters", ONEAPP_SLM_PASSWORD="hunter2hunter2", ONEAPP_OTHER="x")
    assert "ONEAPP_SLM_PASSWORD is not a parameter" in result.stderr
    assert "ONEAPP_SLM_ADMIN_PASSWORD" in result.stderr
    assert "hunter2" not in result.stderr
    assert "ONEAPP_OTHER" not in result.stderr


def test_a_certificate_without_mode_custom_is_a_warning(guest: Guest) -> None:
    result = guest.run("validate_parameters", ONEAPP_SLM_TLS_CERT=PEM)
    assert "only with ONEAPP_SLM_TLS_MODE=custom" in result.stderr


def test_secrets_leave_the_environment(guest: Guest) -> None:
    names = guest.run(
        "validate_parameters; env", ONEAPP_SLM_ADMIN_PASSWORD="Abcdefg1", ONEAPP_SLM_THREADS="1"
    ).stdout
    assert "ONEAPP_SLM_THREADS=1" in names
    assert "Abcdefg1" not in names
