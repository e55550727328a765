"""Cases about a vendor's callbacks, for connectors that declare them: whose calls are heard, and what they speak of.

That a callback is only a hint is the engine's business, and tested there; here nobody asks the vendor anything.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base.callbacks import Callback, CallbackCall, CallbackRefused
from connectors.base.values import Answer
from connectors.testing.conformance.bench import Need
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.trial import Trial

SECRETS = ("conformance-secret-new", "conformance-secret-old")
_ELSE = "conformance-secret-else"
_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_JOB = "job-1"
_OLDEST = timedelta(minutes=15)


class CallbackCases:
    """Mixed into ConformanceSuite."""

    @pytest.mark.parametrize("padding", ["", " ", "\n\t "], ids=["bare", "spaced", "broken"])
    @pytest.mark.parametrize("secret", SECRETS, ids=["new_secret", "old_secret"])
    def test_a_genuine_callback_names_its_job(self, trial: Trial, padding: str, secret: str) -> None:
        """Signed over the bytes as they came, however the vendor spaces its JSON, with any configured secret."""
        call = _call(trial, padding=padding, secret=secret)
        assert _is_taken(trial, call), "a genuine callback was refused"
        heard = _read(trial, call)
        assert heard.any_job or heard.jobs == {_JOB}, "the callback speaks of another job than the vendor's"

    def test_a_callback_that_the_vendor_did_not_sign_is_refused(self, trial: Trial) -> None:
        """Without signature, with another secret's, over other bytes: refused, whatever it says."""
        genuine = _call(trial)
        forged = {
            "without any header": CallbackCall({}, genuine.body),
            "of another secret": _call(trial, secret=_ELSE),
            "over another job": replace(genuine, body=genuine.body.replace(_JOB.encode(), b"job-2")),
            "with a byte more": replace(genuine, body=genuine.body + b" "),
            "without a body": replace(genuine, body=b""),
            "that is no text": replace(genuine, body=b"\xff\xfe"),
        }
        taken = [what for what, call in forged.items() if _is_taken(trial, call)]
        assert not taken, f"callbacks were taken {taken}"
        assert not _is_taken(trial, genuine, secrets=()), "a callback was taken without any secret"

    def test_a_callback_that_is_out_of_date_is_refused(self, trial: Trial) -> None:
        """A copy that is played again later, and one of tomorrow, where the vendor signs a time at all."""
        first, second = _call(trial), _call(trial, at=_NOW + timedelta(hours=1))
        if first == second:
            pytest.skip(f"{trial.bench.name} signs no time")
        assert not _is_taken(trial, first, now=_NOW + _OLDEST), "an old callback was taken"
        assert not _is_taken(trial, second, now=_NOW), "a callback of tomorrow was taken"

    def test_callbacks_find_who_waits_for_the_job(self, trial: Trial) -> None:
        """Whoever waits for a job says which, by the name that the vendor's callback has for it."""
        trial.needs(Need.JOBS, Need.HTTP)
        if _read(trial, _call(trial)).any_job:
            pytest.skip(f"{trial.bench.name} names no jobs")
        trial.reset(trial.bench.slow_options())
        ada = trial.seed_with_neighbours()
        connector = trial.connect()
        answer = trial.erase(connector, trial.frozen(connector, ada), SuiteLease())[ada.ref]
        assert isinstance(answer, Answer), f"erase answered {answer!r}"
        assert answer.resumes, "the vendor's job ran no moment: the bench's slow_options don't slow it"
        assert answer.jobs, "a callback about the job would find nobody"
        for job in answer.jobs:
            assert _read(trial, _call(trial, job=job)).jobs == {job}
            assert job not in repr(answer)


def _call(
    trial: Trial, *, job: str = _JOB, padding: str = " ", at: datetime = _NOW, secret: str = SECRETS[0]
) -> CallbackCall:
    if not trial.bench.connector().declaration.sends_callbacks:
        pytest.skip(f"{trial.bench.name} declares no callbacks")
    return trial.bench.callback(job, padding, at, secret=secret)


def _read(trial: Trial, call: CallbackCall, *, now: datetime = _NOW, secrets: tuple[str, ...] = SECRETS) -> Callback:
    kind = trial.bench.connector()
    entry = trial.bench.with_callback_secrets(trial.stage.entry(), secrets)
    system = kind.parse_system(entry)
    try:
        callback = kind.read_callback(system, call, now)
    except CallbackRefused as refusal:
        _assert_silent(repr(refusal) + str(refusal), call)
        raise
    _assert_silent(repr(system) + repr(callback) + repr(call), call)
    return callback


def _is_taken(trial: Trial, call: CallbackCall, **more: Any) -> bool:
    try:
        _read(trial, call, **more)
    except CallbackRefused:
        return False
    return True


def _assert_silent(said: str, call: CallbackCall) -> None:
    for secret in (*SECRETS, *call.headers.values(), _JOB):
        assert secret not in said, "a callback's secret, header or content was printed"
