"""The variables and the token are those a VM of a marketplace template gets."""

import base64
from ipaddress import IPv4Address, IPv4Interface

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from harness.context.oned import NIC_KEYS, Nic, context_files, oned_context, onegate_token

NIC = Nic(IPv4Interface("10.0.2.15/24"), IPv4Address("10.0.2.2"), dns="10.0.2.3")
PARAMETERS = {
    "ONEAPP_SLM_ACME_CA",
    "ONEAPP_SLM_ACME_DIRECTORY",
    "ONEAPP_SLM_ADMIN_PASSWORD",
    "ONEAPP_SLM_CONTEXT_SIZE",
    "ONEAPP_SLM_CORS_ORIGINS",
    "ONEAPP_SLM_DOMAIN",
    "ONEAPP_SLM_MODEL_TEMPERATURE",
    "ONEAPP_SLM_SECOND_MODEL",
    "ONEAPP_SLM_THREADS",
    "ONEAPP_SLM_TLS_CERT",
    "ONEAPP_SLM_TLS_KEY",
    "ONEAPP_SLM_TLS_MODE",
}


def made(**oneapp: str) -> dict[str, str]:
    return oned_context(NIC, ssh_public_key="ssh-ed25519 AAAA run", hostname="slm", oneapp=oneapp)


def test_the_network_card() -> None:
    context = made()
    assert {key.removeprefix("ETH0_") for key in context if key.startswith("ETH0_")} == set(NIC_KEYS)
    assert {key: value for key, value in context.items() if key.startswith("ETH0_") and value} == {
        "ETH0_DNS": "10.0.2.3",
        "ETH0_GATEWAY": "10.0.2.2",
        "ETH0_IP": "10.0.2.15",
        "ETH0_MAC": "02:00:0a:00:02:0f",
        "ETH0_MASK": "255.255.255.0",
        "ETH0_NETWORK": "10.0.2.0",
    }


def test_the_rest_of_a_template() -> None:
    context = made()
    assert list(context) == sorted(context)
    assert {key: value for key, value in context.items() if not key.startswith(("ETH0_", "ONEAPP_"))} == {
        "DISK_ID": "1",
        "NETWORK": "YES",
        "ONEGATE_ENDPOINT": "http://10.0.2.2:5030",
        "REPORT_READY": "YES",
        "SET_HOSTNAME": "slm",
        "SSH_PUBLIC_KEY": "ssh-ed25519 AAAA run",
        "TARGET": "hda",
        "TOKEN": "YES",
        "VMID": "0",
    }


def test_user_inputs_that_nobody_gave_are_empty_strings() -> None:
    context = made(ONEAPP_SLM_THREADS="3")
    inputs = {key: value for key, value in context.items() if key.startswith("ONEAPP_")}
    assert inputs == dict.fromkeys(PARAMETERS, "") | {"ONEAPP_SLM_THREADS": "3"}


def test_other_variables_win() -> None:
    context = oned_context(
        NIC, ssh_public_key="k", hostname="h", oneapp={}, others={"REPORT_READY": "NO", "START_SCRIPT": "id"}
    )
    assert (context["REPORT_READY"], context["START_SCRIPT"]) == ("NO", "id")


def test_the_token_decrypts_as_onegate_would() -> None:
    password = "0123456789abcdef" * 4
    token = onegate_token(42, 1_700_000_000, password)
    assert token.endswith(b"\n")
    blob = base64.b64decode(token.strip(), validate=True)
    decryptor = Cipher(algorithms.AES256(password[:32].encode()), modes.CBC(bytes(16))).decryptor()
    plain = decryptor.update(blob) + decryptor.finalize()
    assert plain[: -plain[-1]] == b"42:1700000000"


def test_the_disk_has_a_token_only_when_the_template_asks_for_one() -> None:
    assert set(context_files(made(), b"t\n")) == {"context.sh", "token.txt"}
    assert set(context_files({**made(), "TOKEN": "NO"}, b"t\n")) == {"context.sh"}
