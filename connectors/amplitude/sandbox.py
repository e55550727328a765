"""A stand-in of an Amplitude project: users found by id or prefix, and deletion jobs by day."""

from __future__ import annotations

import base64
from datetime import date, datetime, timedelta
from typing import Any

from connectors.testing.sandbox import ApiError, Call, ManualSetup, Result, Table, TableSandbox, route

_CONTROL = {"amplitude_id": 1, "user_id": "expunge-control"}
_KEYS = {"api_key": "sandbox-key", "secret_key": "sandbox-secret"}
_POLICY, _DELAYS = {"control_user_id": _CONTROL["user_id"]}, {"confirm_after": 0, "poll_every": 1}
_ENTRY = {"credentials": _KEYS, "policy": _POLICY, "delays": _DELAYS, "rate_limits": []}
_MOST_IDS, _MOST_DAYS = 100, 184


class AmplitudeSandbox(TableSandbox):
    """Options: `api_key`, `secret_key`, `job_seconds` from the request until the job is done.

    Seed: {"users": [{"amplitude_id": int, "user_id", "device_id", "name"}]}. A job is `staging` in the first half of
    its time and takes further users, then `submitted`, then `done`: only then are its users gone (guess).
    """

    name = "amplitude"
    manual = ManualSetup({"job_seconds": 4}, _ENTRY)

    tables = (Table("users", "user", id="amplitude_id"),)
    control = (("users", _CONTROL),)

    def empty_state(self) -> dict[str, Any]:
        """The control user, and no job."""
        return super().empty_state() | {"jobs": []}

    def authorize(self, call: Call) -> None:
        """Refuse another key or secret."""
        pair = ":".join(self.options.get(name, value) for name, value in _KEYS.items())
        if call.headers.get("authorization") != "Basic " + base64.b64encode(pair.encode()).decode():
            raise _error(401, "Unauthorized")

    def handle(self, call: Call) -> Result:
        """As any stand-in, after the jobs that are due."""
        self._work()
        return super().handle(call)

    def records(self) -> list[dict[str, Any]]:
        """As any stand-in, after the jobs that are due."""
        self._work()
        return super().records()

    def blind(self, call: Call, result: Result) -> Result:
        """Show no user and no job."""
        empty = {"matches": [], "type": "nomatch"} if call.path.endswith("usersearch") else []
        return Result(200, empty) if call.method == "GET" and result.status == 200 else result

    @route("GET", "/api/2/usersearch")
    def search(self, call: Call) -> Result:
        """Amplitude ids and device ids exactly, user ids by their beginning."""
        wanted = call.query.get("user", "")
        if not wanted:
            raise _error(400, "user is required")
        users, kind = self.state["users"].values(), "match_user_or_device_id"
        hits = [u for u in users if wanted in (str(u["amplitude_id"]), u.get("device_id"), u["user_id"])]
        if not hits:
            hits, kind = [u for u in users if u["user_id"].startswith(wanted)], "match_user_id_prefix"
        matches = [{"user_id": u["user_id"], "amplitude_id": u["amplitude_id"]} for u in hits]
        return Result(200, {"matches": matches, "type": kind if hits else "nomatch"})

    @route("POST", "/api/2/deletions/users")
    def delete(self, call: Call) -> Result:
        """Put users into the job that is still staging, or into a new one."""
        body = call.json()
        ids = body.get("amplitude_ids", [])
        if not ids or len(ids) > _MOST_IDS or not all(type(i) is int for i in ids) or not body.get("requester"):
            raise _error(400, "amplitude_ids (1 to 100 integers) and requester are required")
        unknown = [i for i in ids if str(i) not in self.state["users"]]
        if unknown and body.get("ignore_invalid_id") is not True:
            raise _error(400, "unknown users")
        if not (job := next((job for job in self.state["jobs"] if self._status(job) == "staging"), None)):
            day = self.now().date() + timedelta(days=10 + len(self.state["jobs"]))
            lasts = timedelta(seconds=self.options.get("job_seconds", 0))
            times = {"begun_at": self.now().isoformat(), "done_at": (self.now() + lasts).isoformat()}
            self.state["jobs"].append(job := {"day": day.isoformat(), "ids": [], **times})
        job["ids"] += [i for i in ids if i not in unknown and i not in job["ids"]]
        return Result(200, [self._shown(job) | {"invalid_ids": unknown}])

    @route("GET", "/api/2/deletions/users")
    def jobs(self, call: Call) -> Result:
        """Jobs between two days, both included."""
        try:
            start, end = (date.fromisoformat(call.query[name]) for name in ("start_day", "end_day"))
        except (KeyError, ValueError):
            raise _error(400, "start_day and end_day are required, YYYY-MM-DD") from None
        if not 0 <= (end - start).days <= _MOST_DAYS:
            raise _error(400, "at most six months")
        found = [job for job in self.state["jobs"] if start <= date.fromisoformat(job["day"]) <= end]
        return Result(200, [self._shown(job) for job in found])

    def _shown(self, job: dict[str, Any]) -> dict[str, Any]:
        asked = {"requested_on_day": job["begun_at"][:10], "requester": "expunge"}
        ids = [{"amplitude_id": i} | asked for i in job["ids"]]
        return {"day": job["day"], "status": self._status(job), "amplitude_ids": ids, "active_scrub_done_date": None}

    def _status(self, job: dict[str, Any]) -> str:
        begun_at, done_at = (datetime.fromisoformat(job[name]) for name in ("begun_at", "done_at"))
        if self.now() >= done_at:
            return "done"
        return "staging" if self.now() < begun_at + (done_at - begun_at) / 2 else "submitted"

    def _work(self) -> None:
        for job in self.state["jobs"]:
            if self._status(job) == "done" and not job.get("worked"):
                job["worked"] = True
                gone = {str(i) for i in job["ids"]}
                self.state["users"] = {key: user for key, user in self.state["users"].items() if key not in gone}


def _error(status: int, message: str) -> ApiError:
    return ApiError(status, {"error": {"http_code": status, "message": message}})
