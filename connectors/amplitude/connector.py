"""Amplitude: users deleted in one job a day.

They are deleted with all their events by the User Privacy API (v1), by Amplitude id.

Sources, read 2026-11-30: amplitude.com/docs/apis/analytics/user-privacy and .../dashboard-rest (user search).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from connectors.base.config import SystemConfig, SystemModel
from connectors.base.errors import AnswerNotUnderstood
from connectors.base.interface import Declaration, Delays, ErasesBy, Operation, RateLimit
from connectors.base.kit.calls import VALUE, Call, Search, text_of, values_at
from connectors.base.kit.jobs import JobConnector, JobState
from connectors.base.kit.look import Root
from connectors.base.toolkit.http import VendorClient, field_of
from connectors.base.values import Identifier

_DELETIONS = "/api/2/deletions/users"
_SEARCH = Call("GET", "/api/2/usersearch", params={"user": VALUE})
# The search matches prefixes of user ids, and device ids too: only the exact one is the person.
_STATES = {"staging": JobState.RUNNING, "submitted": JobState.RUNNING, "done": JobState.DONE}
# Jobs were seen 40 days ahead; a job is done five days after its data is gone.
_BEHIND, _AHEAD = timedelta(days=30), timedelta(days=150)


class AmplitudeCredentials(SystemModel):
    """`api_key` and `secret_key` of one project."""

    api_key: SecretStr
    secret_key: SecretStr


class AmplitudePolicy(SystemModel):
    """`control_user_id`: the user id of the control record, which is never erased."""

    control_user_id: str


class AmplitudeConnector(JobConnector):
    """One Amplitude project."""

    declaration = Declaration(
        name="amplitude",
        identifier_kinds=frozenset({"customer_id"}),
        operations=frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call=dict.fromkeys((Operation.LOCATE, Operation.ERASE, Operation.CONFIRM), 100),
        rate_limits=(RateLimit(calls=1, per=timedelta(seconds=1)), RateLimit(calls=360, per=timedelta(hours=1))),
        max_concurrency=1,
        delays=Delays(confirm_after=timedelta(hours=1), poll_every=timedelta(hours=6)),
        not_covered=("anonymous_devices", "other_projects", "data_exports"),
    )
    Credentials = AmplitudeCredentials
    Policy = AmplitudePolicy
    root = Root(
        object="user",
        found_by={"customer_id": Search(_SEARCH, "matches", "user_id")},
        show=Search(_SEARCH, "matches", "amplitude_id"),
        carries={"customer_id": "user_id"},
        id="amplitude_id",
    )

    def client(self, system: SystemConfig) -> VendorClient:
        """Return a client with the project's key and secret (Basic)."""
        assert isinstance(system.credentials, AmplitudeCredentials)
        auth = system.credentials.api_key.get_secret_value(), system.credentials.secret_key.get_secret_value()
        return VendorClient.for_system(system, auth=auth)

    def control(self) -> Identifier:
        """Return the user id of the control record."""
        assert isinstance(self.system.policy, AmplitudePolicy)
        return Identifier("customer_id", self.system.policy.control_user_id)

    def submit(self, key: str, record_ids: Sequence[str]) -> str:
        """Return the day of the job.

        Shape: POST {"amplitude_ids": [int]} -> [{"day", "status", "amplitude_ids"}].

        `ignore_invalid_id`: without it one user who is gone already makes the vendor refuse all.
        """
        if not all(record_id.isascii() and record_id.isdigit() for record_id in record_ids):
            raise AnswerNotUnderstood("amplitude_id")
        body = {"amplitude_ids": [int(i) for i in record_ids], "requester": "expunge", "ignore_invalid_id": True}
        jobs = _jobs(self.http.request("POST", _DELETIONS, expect=(200,), json_body=body).body)
        # Users who are gone already are in no job, and the next look finds nothing of them.
        return max((field_of(job, "day", str) for job in jobs), default=datetime.now(UTC).date().isoformat())

    def poll(self, job: str) -> list[Mapping[str, Any]]:
        """Return the jobs of that day.

        Shape: GET ?start_day&end_day -> [{"day", "status", "amplitude_ids": [..]}].
        """
        return self._jobs_between(job, job)

    def state_of(self, answer: Any, record_id: str) -> JobState:
        """Return how far the user's job is; UNKNOWN if no job has the user, for example taken out by hand."""
        states = [field_of(job, "status", str) for job in answer if record_id in _ids(job)]
        if any(state not in _STATES for state in states):
            raise AnswerNotUnderstood("job_status_unknown")
        return _STATES[states[0]] if states else JobState.UNKNOWN

    def open_jobs(self) -> Mapping[str, Any]:
        """Return the jobs of the last 30 and the next 150 days by their day: a range of six months at most."""
        today = datetime.now(UTC).date()
        jobs = self._jobs_between((today - _BEHIND).isoformat(), (today + _AHEAD).isoformat())
        return {field_of(job, "day", str): [job] for job in jobs}

    def _jobs_between(self, start: str, end: str) -> list[Mapping[str, Any]]:
        days = {"start_day": start, "end_day": end}
        return _jobs(self.http.request("GET", _DELETIONS, expect=(200,), params=days).body)


def _jobs(body: Any) -> list[Mapping[str, Any]]:
    if not isinstance(body, list) or not all(isinstance(job, dict) and "status" in job for job in body):
        raise AnswerNotUnderstood("jobs_form")
    return body


def _ids(job: Mapping[str, Any]) -> set[str]:
    return {text_of(found, "amplitude_id") for found in values_at(job, "amplitude_ids.*.amplitude_id")}
