"""A stand-in org over real HTTP and a client that says Salesforce's paths in one word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from connectors.salesforce.sandbox.oauth import CONSUMER_KEY, CONSUMER_SECRET
from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.testing.sandbox import SandboxServer

BASE = "/services/data/v66.0"
CLIENT = {"client_id": CONSUMER_KEY, "client_secret": CONSUMER_SECRET}


class OrgClient:
    """One caller of one org; `latency_seconds` makes calls overlap."""

    def __init__(self, sandbox: SalesforceSandbox, url: str, http: httpx.Client) -> None:
        self.sandbox, self.url, self.http = sandbox, url, http

    def log_in(self) -> None:
        answer = self.http.post("/services/oauth2/token", data={"grant_type": "client_credentials", **CLIENT})
        assert answer.status_code == 200, answer.text
        self.http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def seed(self, *records: dict[str, Any]) -> None:
        self.sandbox.seed({"records": list(records)})

    def id(self, ref: str) -> str:
        return self.sandbox.id_of(ref)

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.http.request(method, BASE + path, **more)

    def query(self, soql: str, *, everything: bool = True) -> httpx.Response:
        return self.call("GET", "/queryAll" if everything else "/query", params={"q": soql})

    def ids(self, soql: str, *, everything: bool = True) -> list[str]:
        answer = self.query(soql, everything=everything)
        assert answer.status_code == 200, answer.text
        return [record["Id"] for record in answer.json()["records"]]

    def delete(self, *refs: str, all_or_none: bool = False) -> list[dict[str, Any]]:
        params = {"ids": ",".join(map(self.id, refs)), "allOrNone": str(all_or_none).lower()}
        answer = self.call("DELETE", "/composite/sobjects", params=params)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()
        return rows

    def codes(self, *refs: str, all_or_none: bool = False) -> list[str]:
        """What became of each: `ok` or the code of its refusal."""
        rows = self.delete(*refs, all_or_none=all_or_none)
        return ["ok" if row["success"] else row["errors"][0]["statusCode"] for row in rows]

    def empty_bin(self, *ids: str, token: str | None = None) -> httpx.Response:
        session = token or self.http.headers["authorization"].removeprefix("Bearer ")
        body = (
            '<?xml version="1.0"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" '
            f'xmlns="urn:partner.soap.sforce.com"><e:Header><SessionHeader><sessionId>{session}</sessionId>'
            "</SessionHeader></e:Header><e:Body><emptyRecycleBin>"
            + "".join(f"<ids>{i}</ids>" for i in ids)
            + "</emptyRecycleBin></e:Body></e:Envelope>"
        )
        headers = {"content-type": "text/xml; charset=UTF-8", "soapaction": '""'}
        return self.http.post("/services/Soap/u/66.0", content=body, headers=headers)

    def composite(self, *parts: dict[str, Any], all_or_none: bool = False) -> list[dict[str, Any]]:
        body = {"allOrNone": all_or_none, "compositeRequest": list(parts)}
        answer = self.call("POST", "/composite", json=body)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["compositeResponse"]
        return rows


def row(kind: str, ref: str | None = None, person: str | None = None, **fields: Any) -> dict[str, Any]:
    """One record of a seed."""
    entry: dict[str, Any] = {"object": kind, "fields": fields}
    return entry | {name: value for name, value in (("ref", ref), ("person", person)) if value is not None}


@contextmanager
def opened(**options: Any) -> Iterator[OrgClient]:
    """An org of its own, logged in to."""
    sandbox = SalesforceSandbox(options)
    with (
        SandboxServer({"": sandbox}) as server,
        httpx.Client(base_url=server.url(), trust_env=False, timeout=60, verify=False) as http,
    ):
        client = OrgClient(sandbox, server.url(), http)
        client.log_in()
        yield client
