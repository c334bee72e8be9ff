"""A password of every accepted character works over Basic and Bearer, in every client."""

from __future__ import annotations

import pytest

from harness.client.https import ApplianceAddress, Auth, open_client
from harness.client.node import fetch
from harness.client.openai_sdk import MAJORS, open_appliance_sdk
from suites.conformance.ask import CHAT, chat
from suites.hostile.conftest import EVERY_CHARACTER
from suites.hostile.watched_guest import WatchedGuest
from suites.lifecycle.living_guest import address_of


@pytest.fixture(scope="module")
def address(serving: WatchedGuest) -> ApplianceAddress:
    return address_of(serving.guest, serving.served)


def test_the_report_has_it_as_it_was_given(serving: WatchedGuest) -> None:
    same = serving.served.password == EVERY_CHARACTER
    assert same, "the report's password is another one"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_httpx_gets_in_with(auth: Auth, address: ApplianceAddress) -> None:
    with open_client(address, auth=auth) as client:
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("major", MAJORS)
def test_openai_python_gets_in(major: str, address: ApplianceAddress) -> None:
    with open_appliance_sdk(address, major) as sdk:
        listed = sdk.call("models.list").value()
    assert [model["id"] for model in listed["data"]] == [address.model]


def test_node_gets_in(address: ApplianceAddress) -> None:
    answer = fetch(address, CHAT, {**chat(max_tokens=1), "model": address.model})
    assert answer.status == 200, answer


def test_without_its_last_character_it_is_refused(address: ApplianceAddress) -> None:
    with open_client(address, auth="none") as client:
        headers = {"Authorization": f"Bearer {EVERY_CHARACTER[:-1]}"}
        assert client.get("/v1/models", headers=headers).status_code == 401
