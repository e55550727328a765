"""The stand-in's account: its records, its search index with lag, its jobs. Knows nothing of HTTP.

Documented behaviour is modelled strictly; where the vendor is silent the stricter guess is taken and marked "guess".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

JOB_LIMIT = 30
_WORD = re.compile(r"\w+")


class Account:
    """A view on a stand-in's `state`; `now` is its clock, `options` its switches."""

    def __init__(self, state: dict[str, Any], options: Mapping[str, Any], now: Callable[[], datetime]) -> None:
        self.state = state
        self.options = options
        self.now = now

    @staticmethod
    def empty_state() -> dict[str, Any]:
        """No data at all, not even an admin."""
        names = ("users", "tickets", "suspended_tickets", "organizations", "jobs", "index", "windows", "purged_at")
        return {"next_id": 1000, **{name: {} for name in names}}

    def new_id(self, wanted: int | None = None) -> int:
        """A fresh id, or the wanted one."""
        if wanted is None:
            self.state["next_id"] += 1
            return int(self.state["next_id"])
        self.state["next_id"] = max(self.state["next_id"], wanted)
        return wanted

    def stamp(self) -> str:
        """The clock in the vendor's form."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def seconds(self, name: str) -> timedelta:
        """A delay among the options; none by default."""
        return timedelta(seconds=float(self.options.get(name, 0)))

    # Records

    def add_user(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A user with identities: `email` is the primary, `emails` and `phones` are further ones."""
        user_id = self.new_id(given.get("id"))
        shared = bool(given.get("shared_phone_number", False))
        emails = [e for e in (given.get("email"), *given.get("emails", ())) if e]
        phones = [p for p in (None if shared else given.get("phone"), *given.get("phones", ())) if p]
        pairs = [("email", e) for e in emails] + [("phone_number", p) for p in phones]
        user = {
            "id": user_id,
            "name": given.get("name", "Somebody"),
            "email": emails[0] if emails else None,
            "phone": given.get("phone"),
            "shared_phone_number": shared,
            "external_id": given.get("external_id"),
            "role": given.get("role", "end-user"),
            "notes": given.get("notes", ""),
            "organization_id": given.get("organization_id"),
            "active": not given.get("deleted", False),
            "updated_at": given.get("updated_at") or self.stamp(),
            "permanently_deleted": False,
            "identities": [
                {"id": self.new_id(), "user_id": user_id, "type": kind, "value": value, "primary": value in emails[:1]}
                for kind, value in pairs
            ],
        }
        self.state["users"][str(user_id)] = user
        if user["active"]:
            text = "\n".join(_properties(user)).lower()
            self.reindex("user", user_id, {"id": user_id, "text": text}, self._lag_of(given))
        return user

    def add_ticket(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A ticket; its requester by `requester_id` or by `requester`, an e-mail address."""
        requester_id = given.get("requester_id") or self.user_by_email(given["requester"])["id"]
        ticket = {
            "id": self.new_id(given.get("id")),
            "subject": given.get("subject", "A question"),
            "description": given.get("description", ""),
            "status": given.get("status", "open"),
            "requester_id": requester_id,
            "submitter_id": requester_id,
            "collaborator_ids": list(given.get("collaborator_ids", ())),
            "comments": list(given.get("comments", ())),
            "archived": bool(given.get("archived", False)),
            "deleted_at": None,
        }
        self.state["tickets"][str(ticket["id"])] = ticket
        entry = {"id": ticket["id"], "requester_id": requester_id}
        self.reindex("ticket", ticket["id"], entry, self._lag_of(given))
        return ticket

    def add_suspended(self, given: Mapping[str, Any]) -> None:
        """A suspended ticket with its author."""
        author = given.get("author", {})
        ticket_id = self.new_id(given.get("id"))
        self.state["suspended_tickets"][str(ticket_id)] = {
            "id": ticket_id,
            "subject": given.get("subject", "Re: hello"),
            "content": given.get("content", ""),
            "cause": "Detected as spam",
            "author": {"id": author.get("id"), "email": author.get("email"), "name": author.get("name")},
        }

    def user_by_email(self, email: str) -> dict[str, Any]:
        """The user whose identity it is. Raises KeyError."""
        users: dict[str, dict[str, Any]] = self.state["users"]
        for user in users.values():
            if email in {i["value"] for i in user["identities"]}:
                return user
        raise KeyError("seed: no user with the requester's address")

    # Search index

    def reindex(self, kind: str, record_id: int, entry: dict[str, Any] | None, lag: timedelta | None = None) -> None:
        """The index learns of a change only after its lag ("up to a few minutes" [spec])."""
        visible_at = self.now() + (self.seconds("confirm_after") if lag is None else lag)
        self.state["index"].setdefault(f"{kind}:{record_id}", []).append([_sortable(visible_at), entry])

    def indexed(self, kind: str, words: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return the rows that the index shows, by id.

        With `words`, without entries whose text lacks one of them.
        """
        now, start, found = _sortable(self.now()), f"{kind}:", []
        # The text of an entry never changes, so its first version says whether the others are worth a look.
        rarest = max(words, key=len, default="")
        for key, versions in self.state["index"].items():
            if key.startswith(start) and rarest in (versions[0][1] or {}).get("text", ""):
                seen = [entry for visible_at, entry in versions if visible_at <= now]
                if seen and seen[-1] is not None and all(word in seen[-1].get("text", "") for word in words):
                    found.append(seen[-1])
        return sorted(found, key=lambda entry: int(entry["id"]))

    def search_users(self, query: str) -> list[dict[str, Any]]:
        """Users in one of whose properties the words stand one after the other, the last as a prefix (guess)."""
        words = _WORD.findall(query.lower())
        users = (self.state["users"][str(entry["id"])] for entry in self.indexed("user", words) if words)
        return [user for user in users if any(_holds(text, words) for text in _properties(user))]

    def _lag_of(self, given: Mapping[str, Any]) -> timedelta:
        return timedelta(seconds=float(given.get("indexed_after_seconds", 0)))

    # Jobs

    def open_job(self, kind: str, ids: list[int]) -> dict[str, Any] | None:
        """A queued job, or None when too many are queued or running."""
        jobs: dict[str, dict[str, Any]] = self.state["jobs"]
        if sum(job["status"] == "queued" for job in jobs.values()) >= JOB_LIMIT:
            return None
        job_id = f"{self.new_id():032x}"
        due_at = self.now() + self.seconds("job_seconds")
        job = {
            "id": job_id,
            "kind": kind,
            "ids": ids,
            "due_at": due_at.isoformat(),
            "status": "queued",
            "results": None,
        }
        jobs[job_id] = job
        return job

    def run_due_jobs(self) -> None:
        """Carry out what is due; a job never fails as a whole, only for single ids."""
        for job in self.state["jobs"].values():
            if job["status"] == "queued" and datetime.fromisoformat(job["due_at"]) <= self.now():
                work = {
                    "delete_tickets": self._delete_ticket,
                    "purge_tickets": self._purge_ticket,
                    "delete_users": self._delete_user,
                }[job["kind"]]
                job["results"] = [_result(i, work(i)) for i in job["ids"]]
                job["status"] = "completed"

    def _delete_ticket(self, ticket_id: int) -> str | None:
        ticket = self.state["tickets"].get(str(ticket_id))
        if ticket is None or ticket["deleted_at"]:
            return "TicketNotFound"
        ticket["deleted_at"] = self.now().isoformat()
        self.reindex("ticket", ticket_id, None)
        return None

    def _purge_ticket(self, ticket_id: int) -> str | None:
        ticket = self.state["tickets"].get(str(ticket_id))
        if ticket is None or not ticket["deleted_at"]:
            return "DeletedTicketNotFound"
        del self.state["tickets"][str(ticket_id)]
        return None

    def _delete_user(self, user_id: int) -> str | None:
        """Refused while the user requests an unclosed ticket [support.zendesk.com 4408821737498]."""
        user = self.state["users"].get(str(user_id))
        if user is None or not user["active"]:
            return "UserNotFound"
        tickets: dict[str, dict[str, Any]] = self.state["tickets"]
        for ticket in tickets.values():
            if ticket["requester_id"] == user_id and ticket["status"] != "closed" and not ticket["deleted_at"]:
                return "UserHasUnclosedTickets"
        user |= {"active": False, "updated_at": self.stamp()}
        self.reindex("user", user_id, None)
        return None

    def purge_user(self, user_id: int) -> dict[str, Any] | None:
        """Permanently delete a soft-deleted user; a row without values stays. None if there is none."""
        user = self.soft_deleted_user(user_id)
        if user is None:
            return None
        answer = dict(user)
        user.update(dict.fromkeys(("email", "phone", "external_id", "organization_id"), None))
        user.update(
            updated_at=self.stamp(), name="Permanently Deleted User", notes="", identities=[], permanently_deleted=True
        )
        self.state["purged_at"][str(user_id)] = self.now().isoformat()
        return answer

    def soft_deleted_user(self, user_id: int) -> dict[str, Any] | None:
        """The user if deleted but not for good."""
        user: dict[str, Any] | None = self.state["users"].get(str(user_id))
        return user if user and not user["active"] and not user["permanently_deleted"] else None

    def compliance_rows(self, user_id: int) -> list[dict[str, Any]] | None:
        """The record of a permanent deletion: complete once `purge_after` has gone by. None for nobody."""
        if str(user_id) not in self.state["users"]:
            return None
        purged_at = self.state["purged_at"].get(str(user_id))
        if purged_at is None:
            return []
        actions = [("request_deletion", "all"), ("started", "support")]
        if datetime.fromisoformat(purged_at) + self.seconds("purge_after") <= self.now():
            actions.append(("complete", "support"))
        return [
            {"id": n, "action": action, "application": application, "user_id": user_id, "created_at": purged_at}
            for n, (action, application) in enumerate(actions, start=1)
        ]


def _sortable(at: datetime) -> str:
    """UTC with microseconds always, so that texts sort as instants do.

    Thousands are compared in every search.
    """
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _result(record_id: int, error: str | None) -> dict[str, Any]:
    if error is None:
        return {"id": record_id, "action": "delete", "status": "Deleted", "success": True}
    return {"id": record_id, "action": "delete", "error": error, "details": error, "success": False}


def _properties(user: Mapping[str, Any]) -> list[str]:
    phones = [re.sub(r"\D", "", i["value"]) for i in user["identities"] if i["type"] == "phone_number"]
    phones += [re.sub(r"\D", "", user["phone"] or "")]
    values = [i["value"] for i in user["identities"]]
    return [user["name"], user["notes"], user["external_id"] or "", *values, *phones]


def _holds(text: str, words: list[str]) -> bool:
    own = _WORD.findall(text.lower())
    size = len(words)
    return any(
        own[at : at + size - 1] == words[:-1] and own[at + size - 1].startswith(words[-1])
        for at in range(len(own) - size + 1)
    )
