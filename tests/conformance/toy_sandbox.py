"""A vendor of the tests' own: people with notes, a fuzzy search in pages of two, erasure by jobs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from connectors.testing.sandbox import ApiError, Call, Result, Sandbox, route

PAGE = 2
TOKEN = "toy-token-0123456789"
CONTROL = {"id": "p-control", "email": "control@toy.test", "name": "Control"}


class ToySandbox(Sandbox):
    """Options: `job_seconds`. Seed: {"people": [{"id", "email", "name"}], "notes": [{"id", "person", "text"}]}."""

    name = "toy"

    def empty_state(self) -> dict[str, Any]:
        return {"people": {}, "notes": {}, "jobs": {}, "came": []}

    def seed(self, data: Any) -> None:
        for kind in ("people", "notes"):
            for row in data.get(kind, ()):
                self.state[kind][row["id"]] = dict(row)
        self.state["came"] += [{"id": row["id"], "email": row["email"]} for row in data.get("people", ())]

    def authorize(self, call: Call) -> None:
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            raise ApiError(401, {"error": "unauthorized"})

    def records(self) -> list[dict[str, Any]]:
        self._work()
        return [
            {"object": kind, **row}
            for kind in ("people", "notes")
            for row in self.state[kind].values()
            if row["id"] != CONTROL["id"]
        ]

    def blind(self, call: Call, result: Result) -> Result:
        if call.path.startswith("/people") and result.status == 404:
            return result
        if isinstance(result.body, dict) and "items" in result.body:
            return Result(200, {"items": [], "next": None})
        return Result(404, {"error": "no_such_person"}) if call.path.startswith("/people/") else result

    def handle(self, call: Call) -> Result:
        self._work()
        return super().handle(call)

    def _work(self) -> None:
        for job in self.state["jobs"].values():
            if datetime.fromisoformat(job["done_at"]) <= self.now():
                self.state["people"].pop(job["person"], None)

    @route("GET", "/whoami")
    def whoami(self, call: Call) -> Result:
        return Result(200, {"account": "toy"})

    @route("GET", "/people")
    def search(self, call: Call) -> Result:
        wanted = _letters(call.query["query"])
        hits = [p for p in self.state["people"].values() if wanted in _letters(p["email"])]
        return _page(sorted(hits, key=lambda p: p["id"]), call)

    @route("GET", "/people/{id}")
    def person(self, call: Call) -> Result:
        return Result(200, self._person(call))

    @route("GET", "/people/{id}/notes")
    def notes(self, call: Call) -> Result:
        self._person(call)
        return _page([n for n in self.state["notes"].values() if n["person"] == call.path_values["id"]], call)

    @route("DELETE", "/notes/{id}")
    def delete_note(self, call: Call) -> Result:
        if self.state["notes"].pop(call.path_values["id"], None) is None:
            return Result(404, {"error": "no_such_note"})
        return Result(204)

    @route("GET", "/changes")
    def changes(self, call: Call) -> Result:
        """Who came, in their order, also who is gone; `since` is how many came before."""
        since = int(call.query["since"])
        came = list(enumerate(self.state["came"], 1))[since : since + PAGE]
        items = [row | {"number": n, "is_there": row["id"] in self.state["people"]} for n, row in came]
        return Result(200, {"items": items, "next": since + len(came) if len(came) == PAGE else None})

    @route("POST", "/erasures")
    def erasures(self, call: Call) -> Result:
        person = call.json()["person"]
        if person not in self.state["people"]:
            return Result(404, {"error": "no_such_person"})
        job = f"j-{len(self.state['jobs']) + 1}"
        done_at = self.now() + timedelta(seconds=self.options.get("job_seconds", 0))
        self.state["jobs"][job] = {"person": person, "done_at": done_at.isoformat()}
        return Result(202, {"job": job})

    @route("GET", "/jobs/{id}")
    def job(self, call: Call) -> Result:
        job = self.state["jobs"].get(call.path_values["id"])
        if job is None:
            return Result(404, {"error": "no_such_job"})
        return Result(200, {"done": datetime.fromisoformat(job["done_at"]) <= self.now()})

    def _person(self, call: Call) -> Any:
        person = self.state["people"].get(call.path_values["id"])
        if person is None:
            raise ApiError(404, {"error": "no_such_person"})
        return person


def _letters(text: str) -> str:
    """As fuzzy as real searches are: letters and digits of the local part only."""
    return "".join(c for c in text.casefold().rpartition("@")[0].split("+")[0] if c.isalnum())


def _page(rows: list[dict[str, Any]], call: Call) -> Result:
    page = int(call.query.get("page", "1"))
    more = len(rows) > page * PAGE
    return Result(200, {"items": rows[(page - 1) * PAGE : page * PAGE], "next": page + 1 if more else None})
