"""The stand-in's front door: tokens by three grants, their end, versions, limits, and what a blind credential sees."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from connectors.salesforce.sandbox.oauth import CONSUMER_KEY, CONSUMER_SECRET, REFRESH_TOKEN, USERNAME
from connectors.testing.sandbox.faults import Fault, FaultKind

from ..org_client import BASE, CLIENT, OrgClient, opened, row

TOKEN = "/services/oauth2/token"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)  # fmt: skip


@pytest.fixture
def org() -> Iterator[OrgClient]:
    with opened(public_key=PEM.decode()) as client:
        client.seed(row("Contact", "ada", LastName="Ada", Email="ada@example.test"))
        yield client


def _part(data: Any) -> str:
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).decode().rstrip("=")


def _assertion(key: rsa.RSAPrivateKey = KEY, alg: str = "RS256", **claims: Any) -> str:
    told = {"iss": CONSUMER_KEY, "sub": USERNAME, "aud": "https://login.salesforce.com", "exp": time.time() + 170}
    text = f"{_part({'alg': alg})}.{_part({**told, **claims})}"
    return f"{text}.{_part(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _jwt(client: OrgClient, assertion: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    answer = client.http.post(TOKEN, data=form)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "client_credentials", **CLIENT},
        {"grant_type": "refresh_token", "client_id": CONSUMER_KEY, "refresh_token": REFRESH_TOKEN},
        {"grant_type": "refresh_token", **CLIENT, "refresh_token": REFRESH_TOKEN},
    ],
)
def test_gives_a_token_and_the_address_of_the_instance(org: OrgClient, form: dict[str, str]) -> None:
    answer = org.http.post(TOKEN, data=form).json()
    assert answer["instance_url"] == org.url
    limits = org.http.get(f"{BASE}/limits", headers={"authorization": f"Bearer {answer['access_token']}"})
    assert limits.status_code == 200


def test_basic_authentication_carries_the_client_too(org: OrgClient) -> None:
    form = {"grant_type": "client_credentials"}
    assert org.http.post(TOKEN, data=form, auth=(CONSUMER_KEY, CONSUMER_SECRET)).status_code == 200
    assert org.http.post(TOKEN, data=form, auth=(CONSUMER_KEY, "wrong")).json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password", **CLIENT, "username": "x", "password": "y"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_id": CONSUMER_KEY}, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}, "invalid_client_id"),
        ({"grant_type": "refresh_token", "client_id": CONSUMER_KEY, "refresh_token": "x"}, "invalid_grant"),
    ],
)
def test_refuses_wrong_credentials(org: OrgClient, form: dict[str, str], error: str) -> None:
    answer = org.http.post(TOKEN, data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_signed_assertion_gives_a_token(org: OrgClient) -> None:
    assert _jwt(org, _assertion())[0] == 200
    assert _jwt(org, _assertion(aud=org.url))[0] == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"exp": time.time() - 5}, "invalid_grant"),
        ({"exp": time.time() + 3_600}, "invalid_grant"),
        ({"exp": None}, "invalid_grant"),
        ({"aud": "https://elsewhere.example"}, "invalid_grant"),
        ({"sub": "nobody@example.test"}, "invalid_grant"),
        ({"iss": "another"}, "invalid_client_id"),
        ({"alg": "none"}, "invalid_grant"),
        ({"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)}, "invalid_grant"),
    ],
    ids=["expired", "too-long", "endless", "audience", "user", "issuer", "algorithm", "key"],
)
def test_refuses_other_assertions(org: OrgClient, changes: dict[str, Any], error: str) -> None:
    status, answer = _jwt(org, _assertion(**changes))
    assert (status, answer["error"]) == (400, error)


def test_refuses_an_assertion_that_is_none(org: OrgClient) -> None:
    assert _jwt(org, "nonsense")[1]["error"] == "invalid_grant"
    assert org.http.post(TOKEN, json={"grant_type": "client_credentials", **CLIENT}).status_code == 400


def _status(client: OrgClient) -> tuple[int, str | None]:
    answer = client.call("GET", "/query", params={"q": "SELECT Id FROM Contact"})
    body = answer.json()
    return answer.status_code, body[0]["errorCode"] if isinstance(body, list) else None


def test_a_token_ends_by_age_by_use_and_by_revocation(org: OrgClient) -> None:
    dead = (401, "INVALID_SESSION_ID")
    org.sandbox.advance_clock(seconds=7_199)
    assert _status(org) == (200, None)
    org.sandbox.advance_clock(seconds=2)
    assert _status(org) == dead

    org.sandbox.options["token_calls"] = 2
    org.log_in()
    assert [_status(org) for _ in range(3)] == [(200, None), (200, None), dead]

    del org.sandbox.options["token_calls"]
    org.log_in()
    org.sandbox.revoke_tokens()
    assert _status(org) == dead
    assert "INVALID_SESSION_ID" in org.empty_bin(org.id("ada")).text
    del org.http.headers["authorization"]
    assert _status(org) == dead


def test_only_versions_that_there_are(org: OrgClient) -> None:
    assert org.http.get("/services/data/v30.0/limits").json()[0]["errorCode"] == "NOT_FOUND"
    assert org.http.get("/services/data/v66/limits").status_code == 404
    org.sandbox.options["api_version"] = "66.0"
    assert org.http.get("/services/data/v65.0/limits").status_code == 404
    assert org.http.get("/services/data/v66.0/limits").status_code == 200
    assert [v["version"] for v in org.http.get("/services/data").json()] == ["66.0"]


def test_every_answer_says_how_much_is_used_and_the_day_ends() -> None:
    with opened(daily_limit=3) as client:
        answers = [client.call("GET", "/limits/") for _ in range(4)]
        assert [a.headers["sforce-limit-info"] for a in answers[:3]] == [f"api-usage={n}/3" for n in (1, 2, 3)]
        assert answers[2].json()["DailyApiRequests"] == {"Max": 3, "Remaining": 0}
        assert (answers[3].status_code, answers[3].json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
        assert "REQUEST_LIMIT_EXCEEDED" in client.empty_bin("0035g0000000001AAA").text


def test_addresses_and_headers_are_limited_in_length(org: OrgClient) -> None:
    soql = "SELECT Id FROM Contact WHERE Email = '{}'"
    assert org.query(soql.format("a" * 3_000)).status_code == 200
    assert org.query(soql.format("a" * 17_000)).status_code == 414
    assert org.call("GET", "/limits", headers={"x-long": "a" * 16_384}).status_code == 431


def test_unknown_paths_and_parameters_are_refused(org: OrgClient) -> None:
    assert org.call("GET", "/sobjects/Nope/describe").json()[0]["errorCode"] == "NOT_FOUND"
    assert org.call("GET", "/search").status_code == 404
    assert org.call("PUT", "/sobjects/Contact").status_code == 404
    assert org.call("GET", "/query", params={"q": "SELECT Id FROM Contact", "all": "1"}).status_code == 400
    assert org.call("POST", "/composite", content=b"{}").status_code == 415
    assert org.call("POST", "/composite", json=[]).status_code == 400


def test_soap_knows_no_login_and_no_other_operation(org: OrgClient) -> None:
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com">'
        "<e:Body><{0}><username>x</username></{0}></e:Body></e:Envelope>"
    )
    headers = {"content-type": "text/xml", "soapaction": '""'}
    for name, told in (("login", "login() is disabled"), ("undelete", "INVALID_SESSION_ID")):
        answer = org.http.post("/services/Soap/u/66.0", content=envelope.format(name), headers=headers)
        assert (answer.status_code, told in answer.text) == (500, True)
    assert org.http.post("/services/Soap/u/66.0", content="<a", headers=headers).status_code == 500
    assert (
        org.http.post("/services/Soap/u/66.0", content="<a/>", headers={"content-type": "text/xml"}).status_code == 500
    )


def test_a_blind_credential_gets_200_and_nothing(org: OrgClient) -> None:
    org.sandbox.faults = [Fault(FaultKind.BLIND, times=None)]
    soql = "SELECT Id FROM Organization"
    assert org.query(soql).json() == {"totalSize": 0, "done": True, "records": []}
    (answer,) = org.composite(
        {"method": "GET", "url": f"{BASE}/query?q={soql.replace(' ', '+')}", "referenceId": "a"}
    )  # fmt: skip
    assert (answer["httpStatusCode"], answer["body"]["records"]) == (200, [])
    assert org.call("GET", f"/sobjects/Contact/{org.id('ada')}").status_code == 404
    assert org.call("GET", "/sobjects/Contact/describe").json()["name"] == "Contact"


def test_a_lie_changes_nothing(org: OrgClient) -> None:
    org.sandbox.faults = [Fault(FaultKind.LIE, methods=("DELETE",))]
    assert org.codes("ada") == ["ok"]
    assert org.ids("SELECT Id FROM Contact WHERE IsDeleted = false") == [org.id("ada")]
    assert org.codes("ada") == ["ok"]
    assert org.ids("SELECT Id FROM Contact WHERE IsDeleted = false") == []
