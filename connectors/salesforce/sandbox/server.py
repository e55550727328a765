"""A stateful stand-in of one Salesforce org: describe, SOQL, records, composite, Bulk 2.0, SOAP's emptyRecycleBin.

Driven by describe: what cascades, what restricts, what may be deleted, changed or filtered stands in the schema
(`sandbox_schema`), ours or the real describes of option `describe_directory`. What Salesforce would refuse is refused.

Seed: {"records": [{"object": "Contact", "ref": "ada", "person": "ada", "fields": {"LastName": "Lovelace",
"Email": "ada@example.test", "AccountId": "@household"}, "deleted": false, "id": "003..."}]}. `ref` names the row:
`"@ref"` in a reference field (of this or a later seed) is its id, `id_of(ref)` tells it. `person` says whose the row
is, for `snapshot`. Only `object` is required. A seeded person account (`IsPersonAccount`) gets its contact,
`"@ref:contact"`. `deleted` puts the row into the recycle bin. Fields that the API can't set (IsArchived, IsConverted)
can be seeded.

Options. Credentials: `consumer_key`, `consumer_secret`, `refresh_token`, `username`, `public_key` (PEM), `audiences`,
`instance_url`, `api_version` (pins one). Ends of tokens: `token_seconds`, `token_calls`. Limits: `daily_limit`,
`concurrent_limit`, `page_rows`, `nested_page_rows`, `cascade_limit`, `bin_capacity`. Rights: `permissions`
{"bulk_hard_delete": false, "modify_all_data": true, "view_all_data": as the former}; `hidden` (objects and
`Object.Field`s that the credential doesn't see). Delays: `job_seconds`; `confirm_after` (seconds that queryAll still
shows what was purged, about a day in a real org); `purge_after` (the bin's 15 days).
Trouble, by record id: `vetoes` {id: code}, `locked` [id], `too_large` [id], `lock_conflicts` {id: times};
`validation_rules` {"Object.Field": pattern}; `failing_jobs` n; `deleted_children_block`; `arrivals`, a list of
{"after_deletions": n, "records": [...]} that come in once so many rows were deleted. Schema: `describe_directory`,
`person_accounts`. Calls that overlap (the server's `latency_seconds`) and write under one parent: UNABLE_TO_LOCK_ROW.

Not modelled: SOSL, undelete, sharing rules, formula fields, roll-ups, big objects, Apex, other clouds.
"""

from __future__ import annotations

from typing import Any, ClassVar

from connectors.salesforce.sandbox.oauth import CONSUMER_KEY, CONSUMER_SECRET, VERSION
from connectors.salesforce.sandbox.soap import SoapSandbox
from connectors.salesforce.sandbox.wire import not_found
from connectors.testing.sandbox import Call, ManualSetup, Result


class SalesforceSandbox(SoapSandbox):
    """One org. `state`: tables, bin, purged, refs, marks (id -> person), tokens, jobs, running_user, and counts."""

    name: ClassVar[str] = "salesforce"
    manual = ManualSetup(
        options={"job_seconds": 1, "confirm_after": 2},
        entry={
            "credentials": {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET},
            "policy": {"fields": {"Contact.Customer_Number__c": "customer_id"}},
            "delays": {"confirm_after": 2, "poll_every": 1},
        },
    )

    def blind(self, call: Call, result: Result) -> Result:
        """Queries find nothing, single records aren't there; describes answer as ever."""
        match = VERSION.fullmatch(call.path)
        if match is None or result.status >= 400:
            return result
        rest = (match["rest"] or "").rstrip("/")
        if rest == "/composite" and isinstance(result.body, dict):
            parts = call.json().get("compositeRequest", [])
            answers = zip(parts, result.body["compositeResponse"], strict=False)
            return Result(200, {"compositeResponse": [_blinded(part, answer) for part, answer in answers]})
        return self._blind_to(call.method, rest, result)

    @staticmethod
    def _blind_to(method: str, rest: str, result: Result) -> Result:
        if rest.startswith(("/query", "/queryAll")):
            return Result(200, _nothing(result.body))
        if (
            method == "GET"
            and rest.startswith("/sobjects/")
            and rest.count("/") == 3
            and not rest.endswith("/describe")
        ):
            return not_found().result
        return result


def _nothing(body: Any) -> Any:
    """An empty result."""
    return {"totalSize": 0, "done": True, "records": []} if isinstance(body, dict) else body


def _blinded(part: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    path = str(part.get("url", "")).partition("?")[0]
    match = VERSION.fullmatch(path)
    is_query = match is not None and (match["rest"] or "").startswith(("/query", "/queryAll"))
    return {**answer, "body": _nothing(answer["body"])} if is_query else answer
