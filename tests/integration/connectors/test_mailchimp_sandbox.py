"""The Mailchimp stand-in refuses what Mailchimp refuses, in Mailchimp's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from connectors.mailchimp.sandbox import MailchimpSandbox, subscriber_hash
from connectors.mailchimp.sandbox_wire import API_KEY
from connectors.testing.sandbox import SandboxServer

ADA = "ada@example.test"
KEY = subscriber_hash(ADA)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    sandbox = MailchimpSandbox()
    sandbox.seed(
        {
            "lists": [
                {
                    "id": "news",
                    "members": [
                        {"email_address": ADA, "contact_id": "c0ffee", "notes": ["one", "two"]},
                        {"email_address": "old@example.test", "status": "archived"},
                    ],
                }
            ]
        }
    )
    with (
        SandboxServer({"": sandbox}) as server,
        httpx.Client(base_url=f"{server.url()}/3.0", auth=("any", API_KEY), trust_env=False, verify=False) as opened,
    ):
        yield opened


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "title"),
    [
        ("GET", "/lists?count=1001", None, 400, "Invalid Resource"),
        ("GET", "/lists?offset=-1", None, 400, "Invalid Resource"),
        ("GET", "/lists?cuont=5", None, 400, "Invalid Resource"),
        ("GET", "/lists/none/members", None, 404, "Resource Not Found"),
        ("GET", "/lists/news/members/none", None, 404, "Resource Not Found"),
        ("GET", "/no-such-path", None, 404, "Resource Not Found"),
        ("GET", "/search-members", None, 400, "Invalid Resource"),
        ("POST", "/lists/news/members/c0ffee/actions/delete-permanent", None, 404, "Resource Not Found"),
        ("POST", f"/lists/news/members/{KEY}/actions/delete-permanent", {}, 400, "Invalid Resource"),
        ("POST", "/lists/news/members", {"email_address": ADA, "status": "subscribed"}, 400, "Member Exists"),
        ("POST", "/lists/news/members", {"email_address": "none", "status": "subscribed"}, 400, "Invalid Resource"),
        ("DELETE", f"/lists/news/members/{subscriber_hash('old@example.test')}", None, 405, "Method Not Allowed"),
        ("POST", "/batches", {"operations": []}, 400, "Invalid Resource"),
        ("POST", "/batches", {"operations": [{"method": "GET"}]}, 400, "Invalid Resource"),
        ("POST", "/batches", {"operations": [{"method": "GET", "path": "/lists"}] * 1001}, 400, "Invalid Resource"),
        ("POST", "/batches", [], 400, "Invalid Resource"),
        ("GET", "/batches/none", None, 404, "Resource Not Found"),
    ],
)
def test_refuses(client: httpx.Client, method: str, path: str, body: Any, status: int, title: str) -> None:
    answer = client.request(method, path, json=body) if body is not None else client.request(method, path)
    assert (answer.status_code, answer.json()["title"]) == (status, title)
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_takes_basic_with_the_key_only(client: httpx.Client) -> None:
    assert client.get("/ping").status_code == 200
    assert client.get("/ping", auth=("any", "wrong-us1")).status_code == 401
    assert client.get("/ping", headers={"authorization": f"Bearer {API_KEY}"}, auth=None).status_code == 401


def test_archiving_erases_nothing_and_deleting_does(client: httpx.Client) -> None:
    assert client.delete(f"/lists/news/members/{KEY}").status_code == 204
    assert client.get(f"/lists/news/members/{KEY}").json()["status"] == "archived"
    assert client.get("/lists/news/members").json()["total_items"] == 0
    assert client.get("/search-members", params={"query": ADA}).json()["exact_matches"]["total_items"] == 0
    assert client.post(f"/lists/news/members/{KEY}/actions/delete-permanent").status_code == 204
    assert client.get(f"/lists/news/members/{KEY}").status_code == 404
    new = {"email_address": ADA, "status_if_new": "subscribed"}
    assert client.put(f"/lists/news/members/{KEY}", json=new).json()["title"] == "Forgotten Email Not Subscribed"


def test_a_member_is_found_by_hash_address_and_contact_id(client: httpx.Client) -> None:
    for key in (KEY, "c0ffee", "ADA@example.test"):
        shown = client.get(f"/lists/news/members/{key}", params={"fields": "id,last_note.note"}).json()
        assert shown == {"id": KEY, "last_note": {"note": "two"}}


def test_results_need_the_signature_and_no_key(client: httpx.Client) -> None:
    job = client.post("/batches", json={"operations": [{"method": "GET", "path": "/lists"}]}).json()
    done = client.get(f"/batches/{job['id']}").json()
    assert (job["status"], done["status"], done["finished_operations"]) == ("pending", "finished", 1)
    url = client.base_url.join(done["response_body_url"])
    assert httpx.get(url, trust_env=False, verify=False).status_code == 200
    assert httpx.get(str(url).split("?")[0], trust_env=False, verify=False).status_code == 403
    assert client.delete(f"/batches/{job['id']}").status_code == 204
    assert httpx.get(url, trust_env=False, verify=False).status_code == 403
