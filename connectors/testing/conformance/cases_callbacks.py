"""Cases about a vendor's callbacks, for connectors that declare them: genuine calls, and their jobs.

A callback is only a hint. The engine decides that, and its tests prove it; these cases make no call to the vendor.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base.callbacks import Callback, CallbackCall, CallbackRefused
from connectors.base.values import Answer
from connectors.testing.conformance.case import Case
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.vendor_fixture import Need

SECRETS = ("conformance-secret-new", "conformance-secret-old")
_ELSE = "conformance-secret-else"
_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_JOB = "job-1"
_OLDEST = timedelta(minutes=15)


class CallbackCases:
    """Mixed into ConformanceSuite."""

    @pytest.mark.parametrize("padding", ["", " ", "\n\t "], ids=["bare", "spaced", "broken"])
    @pytest.mark.parametrize("secret", SECRETS, ids=["new_secret", "old_secret"])
    def test_a_genuine_callback_names_its_job(self, case: Case, padding: str, secret: str) -> None:
        """Signed over the bytes as they came, however the vendor spaces its JSON, with any configured secret."""
        call = _call(case, padding=padding, secret=secret)
        assert _is_taken(case, call), "a genuine callback was refused"
        heard = _read(case, call)
        assert heard.any_job or heard.jobs == {_JOB}, "the callback speaks of another job than the vendor's"

    def test_a_callback_that_the_vendor_did_not_sign_is_refused(self, case: Case) -> None:
        """Without signature, with another secret's, over other bytes: refused, whatever it says."""
        genuine = _call(case)
        forged = {
            "without any header": CallbackCall({}, genuine.body),
            "of another secret": _call(case, secret=_ELSE),
            "over another job": replace(genuine, body=genuine.body.replace(_JOB.encode(), b"job-2")),
            "with a byte more": replace(genuine, body=genuine.body + b" "),
            "without a body": replace(genuine, body=b""),
            "that is no text": replace(genuine, body=b"\xff\xfe"),
        }
        taken = [what for what, call in forged.items() if _is_taken(case, call)]
        assert not taken, f"callbacks were taken {taken}"
        assert not _is_taken(case, genuine, secrets=()), "a callback was taken without any secret"

    def test_a_callback_that_is_out_of_date_is_refused(self, case: Case) -> None:
        """A copy that is played again later, and one of tomorrow, where the vendor signs a time at all."""
        first, second = _call(case), _call(case, at=_NOW + timedelta(hours=1))
        if first == second:
            pytest.skip(f"{case.vendor.name} signs no time")
        assert not _is_taken(case, first, now=_NOW + _OLDEST), "an old callback was taken"
        assert not _is_taken(case, second, now=_NOW), "a callback of tomorrow was taken"

    def test_callbacks_find_who_waits_for_the_job(self, case: Case) -> None:
        """A person who waits for a job names it as the vendor's callback does."""
        case.needs(Need.JOBS, Need.HTTP)
        if _read(case, _call(case)).any_job:
            pytest.skip(f"{case.vendor.name} names no jobs")
        case.reset(case.vendor.slow_options())
        ada = case.seed_with_neighbours()
        connector = case.connect()
        answer = case.erase(connector, case.frozen(connector, ada), SuiteLease())[ada.ref]
        assert isinstance(answer, Answer), f"erase answered {answer!r}"
        assert answer.resumes, "the vendor's job ran no moment: the fixture's slow_options don't slow it"
        assert answer.jobs, "a callback about the job would find nobody"
        for job in answer.jobs:
            assert _read(case, _call(case, job=job)).jobs == {job}
            assert job not in repr(answer)


def _call(
    case: Case, *, job: str = _JOB, padding: str = " ", at: datetime = _NOW, secret: str = SECRETS[0]
) -> CallbackCall:
    if not case.vendor.connector().declaration.sends_callbacks:
        pytest.skip(f"{case.vendor.name} declares no callbacks")
    return case.vendor.callback(job, padding, at, secret=secret)


def _read(case: Case, call: CallbackCall, *, now: datetime = _NOW, secrets: tuple[str, ...] = SECRETS) -> Callback:
    kind = case.vendor.connector()
    entry = case.vendor.with_callback_secrets(case.running.entry(), secrets)
    system = kind.parse_system(entry)
    try:
        callback = kind.read_callback(system, call, now)
    except CallbackRefused as refusal:
        _assert_silent(repr(refusal) + str(refusal), call)
        raise
    _assert_silent(repr(system) + repr(callback) + repr(call), call)
    return callback


def _is_taken(case: Case, call: CallbackCall, **more: Any) -> bool:
    try:
        _read(case, call, **more)
    except CallbackRefused:
        return False
    return True


def _assert_silent(said: str, call: CallbackCall) -> None:
    for secret in (*SECRETS, *call.headers.values(), _JOB):
        assert secret not in said, "a callback's secret, header or content was printed"
