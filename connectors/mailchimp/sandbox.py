"""A stateful stand-in of one Mailchimp account: audiences, members, search, forgotten addresses.

Strict where the documentation is, and stricter where it says nothing: a query parameter that isn't documented for a
call is refused, the search doesn't show archived members, and its matches are loose (plus tags, beginnings of names).

Seed: {"lists": [{"id": "a1", "name": "News", "merge_fields": [{"tag": "PHONE", "name": "Phone", "type": "phone"}],
"members": [{"email_address": "ada@example.test", "status": "subscribed", "merge_fields": {}, "tags": ["vip"],
"notes": ["text"]}]}]}. Seeding an address again is what its owner's own sign-up is: it lifts the ban.

Options: `api_key`; `confirm_after` (seconds that the search still shows what was deleted); `job_seconds`;
`operation_errors` ({pattern of an operation's path: status}, for results of jobs); `public_url` (where results are
served from; without it their address is relative to the API's root).

Unconfirmed, and chosen here: `delete-permanent` takes archived members, and answers 404 for one who is gone.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import datetime
from typing import Any, ClassVar

from connectors.mailchimp.sandbox_jobs import JobsSandbox
from connectors.mailchimp.sandbox_wire import API_KEY, NOT_FOUND, chosen, problem, refuse
from connectors.testing.sandbox import Call, ManualSetup, Result, route

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
_PAGING = frozenset({"count", "offset", "fields", "exclude_fields"})
_WINDOW = ("since_last_changed", "before_last_changed")
_LISTING = _PAGING | {"status", "email_type", "sort_field", "sort_dir", "unique_email_id", *_WINDOW}
_DEFAULT_FIELDS = (("FNAME", "First Name", "text"), ("LNAME", "Last Name", "text"), ("PHONE", "Phone Number", "phone"))


def subscriber_hash(email: str) -> str:
    """MD5 of the lower-case address."""
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


def _ban(email: str) -> str:
    return hashlib.sha256(email.lower().encode()).hexdigest()


class MailchimpSandbox(JobsSandbox):
    """One account.

    `state`: lists, merge_fields and members by list, forgotten (hashes), searchable ghosts, jobs.
    """

    name: ClassVar[str] = "mailchimp"
    manual = ManualSetup(
        options={"job_seconds": 1, "confirm_after": 2},
        entry={
            "credentials": {"api_key": API_KEY},
            "delays": {"confirm_after": 2, "poll_every": 1},
            "rate_limits": [],
        },
        base_path="/3.0",
    )

    def empty_state(self) -> dict[str, Any]:
        """An account without audiences."""
        return {"lists": {}, "merge_fields": {}, "members": {}, "forgotten": {}, "ghosts": [], "jobs": {}}

    def seed(self, data: Any) -> None:
        """Put audiences and members in; an audience of a known id gets more members."""
        for row in data.get("lists", ()):
            list_id = row["id"]
            self.state["lists"].setdefault(list_id, {"id": list_id, "name": row.get("name", list_id)})
            self.state["members"].setdefault(list_id, {})
            self.state["forgotten"].setdefault(list_id, [])
            own = [(f["tag"], f["name"], f["type"]) for f in row.get("merge_fields", ())] or list(_DEFAULT_FIELDS)
            self.state["merge_fields"].setdefault(
                list_id, [{"merge_id": i, "tag": t, "name": n, "type": k} for i, (t, n, k) in enumerate(own, 1)]
            )
            for member in row.get("members", ()):
                ban = _ban(member["email_address"])
                self.state["forgotten"][list_id] = [b for b in self.state["forgotten"][list_id] if b != ban]
                self._put_member(list_id, member)

    def _stamp(self) -> str:
        return self.now().isoformat(timespec="seconds")

    def _put_member(self, list_id: str, data: dict[str, Any]) -> dict[str, Any]:
        email = data["email_address"]
        key = subscriber_hash(email)
        tags = [{"id": i, "name": name} for i, name in enumerate(data.get("tags", ()), 1)]
        member = {
            "id": key,
            "email_address": email,
            "contact_id": data.get("contact_id") or uuid.uuid4().hex,
            "full_name": data.get("full_name", ""),
            "status": data.get("status", "subscribed"),
            "merge_fields": dict(data.get("merge_fields", {})),
            "sms_phone_number": data.get("sms_phone_number", ""),
            "tags": tags,
            "tags_count": len(tags),
            "notes": list(data.get("notes", ())),
            "list_id": list_id,
            "last_changed": data.get("last_changed") or self._stamp(),
        }
        self.state["members"][list_id][key] = member
        return member

    def records(self) -> list[dict[str, Any]]:
        """Members of all statuses, ghosts of the search, jobs with results, forgotten hashes."""
        self.advance()
        rows: list[dict[str, Any]] = [
            {"object": "member", **m, "id": f"{list_id}/{m['id']}"}
            for list_id, members in self.state["members"].items()
            for m in members.values()
        ]
        rows += [{"object": "search_entry", "id": g["member"]["contact_id"], **g} for g in self._live_ghosts()]
        rows += [{"object": "job", **job} for job in self.state["jobs"].values()]
        rows += [
            {"object": "forgotten", "id": ban, "list_id": list_id}
            for list_id, bans in self.state["forgotten"].items()
            for ban in bans
        ]
        return rows

    def authorize(self, call: Call) -> None:
        """HTTP Basic with any user name; results have an address of their own and take no key."""
        self.advance()
        if call.path.startswith("/results/"):
            return
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        try:
            password = base64.b64decode(value).decode().partition(":")[2] if scheme.lower() == "basic" else ""
        except ValueError:
            password = ""
        if password != self.options.get("api_key", API_KEY):
            raise refuse(
                401,
                "API Key Invalid",
                "Your API key may be invalid, or you've attempted to access the wrong datacenter.",
            )

    def blind(self, call: Call, result: Result) -> Result:
        """Collections are empty, single things aren't there."""
        if call.method != "GET":
            return result
        parts = call.path.split("/")[2:]
        if parts == ["search-members"]:
            return Result(200, {p: {"members": [], "total_items": 0} for p in ("exact_matches", "full_search")})
        if parts in (["lists"], ["batches"]):
            return Result(200, {parts[0]: [], "total_items": 0})
        if len(parts) == 3 and parts[0] == "lists":
            return Result(200, {parts[2].replace("-", "_"): [], "list_id": parts[1], "total_items": 0})
        return problem(*NOT_FOUND)

    @route("GET", "/3.0/ping")
    def ping(self, call: Call) -> Result:
        """Says nothing about the account."""
        return Result(200, {"health_status": "Everything's Chimpy!"})

    @route("GET", "/3.0/lists")
    def list_lists(self, call: Call) -> Result:
        """All audiences with their numbers of active members."""
        self.only(call, _PAGING)
        rows = [
            {
                **row,
                "stats": {
                    "member_count": sum(m["status"] == "subscribed" for m in self.state["members"][row["id"]].values())
                },
            }
            for row in self.state["lists"].values()
        ]
        return self.page(call, "lists", rows)

    def _audience(self, call: Call) -> str:
        list_id = call.path_values["list_id"]
        if list_id not in self.state["lists"]:
            raise refuse(*NOT_FOUND)
        return list_id

    def _member(self, call: Call, *, by_hash_only: bool = False) -> dict[str, Any]:
        members = self.state["members"][self._audience(call)]
        key = call.path_values["key"]
        found: dict[str, Any] | None = members.get(key)
        if found is None and not by_hash_only:
            # An address leads to its hash at once; only a contact id has to be looked for.
            found = members.get(subscriber_hash(key)) if "@" in key else None
            found = found or next((m for m in members.values() if key == m["contact_id"]), None)
        if found is None:
            raise refuse(*NOT_FOUND)
        return found

    @route("GET", "/3.0/lists/{list_id}/merge-fields")
    def list_merge_fields(self, call: Call) -> Result:
        """An audience's fields and their types."""
        self.only(call, _PAGING | {"type", "required"})
        list_id = self._audience(call)
        return self.page(call, "merge_fields", self.state["merge_fields"][list_id], list_id=list_id)

    @route("GET", "/3.0/lists/{list_id}/members")
    def list_members(self, call: Call) -> Result:
        """An audience's members; archived ones only if asked for."""
        self.only(call, _LISTING)
        list_id = self._audience(call)
        status = call.query.get("status")
        if status is not None and status not in STATUSES:
            raise refuse(400, "Invalid Resource", "status is not known.")
        members = self.state["members"][list_id].values()
        rows = [m for m in members if m["status"] == status or (status is None and m["status"] != "archived")]
        return self.page(call, "members", [_shown(m) for m in _asked_for(call, rows)], list_id=list_id)

    @route("GET", "/3.0/lists/{list_id}/members/{key}")
    def get_member(self, call: Call) -> Result:
        """A member of any status, by subscriber hash, address or contact id."""
        self.only(call, frozenset({"fields", "exclude_fields"}))
        return Result(200, chosen(_shown(self._member(call)), call.query.get("fields")))

    @route("POST", "/3.0/lists/{list_id}/members")
    def add_member(self, call: Call) -> Result:
        """Add one; refused for a forgotten address and for one that is there."""
        list_id, data = self._audience(call), self.body(call)
        self._check_new(list_id, data.get("email_address"), data.get("status"))
        if subscriber_hash(data["email_address"]) in self.state["members"][list_id]:
            raise refuse(400, "Member Exists", "The address is already a list member. Use PUT to insert or update.")
        return Result(200, _shown(self._put_member(list_id, data)))

    @route("PUT", "/3.0/lists/{list_id}/members/{key}")
    def put_member(self, call: Call) -> Result:
        """Add or update one."""
        list_id, data = self._audience(call), self.body(call)
        member = self.state["members"][list_id].get(call.path_values["key"])
        if member is not None:
            return self._update(member, data)
        self._check_new(list_id, data.get("email_address"), data.get("status_if_new"))
        return Result(200, _shown(self._put_member(list_id, {**data, "status": data["status_if_new"]})))

    @route("PATCH", "/3.0/lists/{list_id}/members/{key}")
    def patch_member(self, call: Call) -> Result:
        """Update one who is there. A new status brings an archived one back."""
        return self._update(self._member(call), self.body(call))

    def _update(self, member: dict[str, Any], data: dict[str, Any]) -> Result:
        if "status" in data and data["status"] not in STATUSES[:4]:
            raise refuse(400, "Invalid Resource", "status is not one that can be set.")
        member.update({k: v for k, v in data.items() if k in ("status", "merge_fields")})
        member["last_changed"] = self._stamp()
        return Result(200, _shown(member))

    def _check_new(self, list_id: str, email: Any, status: Any) -> None:
        if not isinstance(email, str) or "@" not in email or status not in STATUSES[:5]:
            raise refuse(400, "Invalid Resource", "Please provide a valid email address and status.")
        if _ban(email) in self.state["forgotten"][list_id]:
            detail = f"{email} was permanently deleted and cannot be re-imported. The contact must re-subscribe."
            raise refuse(400, "Forgotten Email Not Subscribed", detail)

    @route("DELETE", "/3.0/lists/{list_id}/members/{key}")
    def archive_member(self, call: Call) -> Result:
        """Archive: everything stays."""
        member = self._member(call)
        if member["status"] in ("cleaned", "pending", "archived"):
            detail = (
                "This list member cannot be removed. Can not archive a contact that is bounced, pending or archived"
            )
            raise refuse(405, "Method Not Allowed", detail)
        member |= {"status": "archived", "last_changed": self._stamp()}
        return Result(204)

    @route("POST", "/3.0/lists/{list_id}/members/{key}/actions/delete-permanent")
    def delete_permanent(self, call: Call) -> Result:
        """Remove everything but a hash that bans re-import. Takes a subscriber hash and nothing else."""
        if call.body:
            raise refuse(400, "Invalid Resource", "This action takes no body.")
        member = self._member(call, by_hash_only=True)
        list_id = call.path_values["list_id"]
        del self.state["members"][list_id][member["id"]]
        self.state["forgotten"][list_id].append(_ban(member["email_address"]))
        until = self.now().timestamp() + float(self.options.get("confirm_after", 0))
        self.state["ghosts"].append({"until": until, "member": _shown(member)})
        return Result(204)

    def _live_ghosts(self) -> list[dict[str, Any]]:
        self.state["ghosts"] = [g for g in self.state["ghosts"] if g["until"] > self.now().timestamp()]
        ghosts: list[dict[str, Any]] = self.state["ghosts"]
        return ghosts

    @route("GET", "/3.0/search-members")
    def search_members(self, call: Call) -> Result:
        """Loose matches over all audiences, with a lag after deletions; never archived members."""
        self.only(call, frozenset({"query", "list_id", "fields", "exclude_fields"}))
        query = call.query.get("query", "").lower()
        if not query:
            raise refuse(400, "Invalid Resource", "A query is required.")
        wanted = call.query.get("list_id")
        members = [m for own in self.state["members"].values() for m in own.values() if m["status"] != "archived"]
        pool = [m for m in members if wanted in (None, m["list_id"])]
        pool += [g["member"] for g in self._live_ghosts() if wanted in (None, g["member"]["list_id"])]
        local, _, domain = query.partition("@")
        full = [m for m in pool if m["email_address"].lower().startswith(local[:3]) or local in m["full_name"].lower()]
        exact = [m for m in full if _without_tag(m["email_address"].lower()) == _without_tag(query)]
        found = {
            name: {"members": [_shown(m) for m in rows], "total_items": len(rows)}
            for name, rows in (("exact_matches", exact if domain else []), ("full_search", full))
        }
        return Result(200, chosen(found, call.query.get("fields")))


def _asked_for(call: Call, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Members changed after and before the named instants, both left out, in the order asked for."""
    try:
        since, before = (datetime.fromisoformat(call.query[name]) if name in call.query else None for name in _WINDOW)
    except ValueError:
        raise refuse(400, "Invalid Resource", "The timestamp is not ISO 8601.") from None
    field, direction = call.query.get("sort_field"), call.query.get("sort_dir", "ASC")
    if field not in (None, "last_changed") or direction not in ("ASC", "DESC"):
        raise refuse(400, "Invalid Resource", "The order is not known here.")
    found = []
    for row in rows:
        at = datetime.fromisoformat(row["last_changed"])
        if (since is None or at > since) and (before is None or at < before):
            found.append(row)
    if field is None:
        return found
    return sorted(found, key=lambda row: datetime.fromisoformat(row[field]), reverse=direction == "DESC")


def _without_tag(email: str) -> str:
    local, _, domain = email.partition("@")
    return f"{local.split('+')[0]}@{domain}"


def _shown(member: dict[str, Any]) -> dict[str, Any]:
    """A member as the API shows it: of its notes only the last."""
    shown = {k: v for k, v in member.items() if k != "notes"}
    return shown | {"last_note": {"note": member["notes"][-1]}} if member.get("notes") else shown
