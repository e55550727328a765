"""Cases about a system that refuses, is out of order or can't see: none of it may look like absence or success."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import Connector
from connectors.base.runner import Outcome
from connectors.base.values import Answer, AnswerKind, Batch, Located
from connectors.testing.conformance.bench import Need
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import Plant
from connectors.testing.conformance.trial import Trial
from connectors.testing.sandbox.faults import Fault, FaultKind

_CONCLUSIVE = (AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT)
_STALL_SECONDS = 1.2
_TIMEOUT_SECONDS = 0.3


class AccessCases:
    """Mixed into ConformanceSuite."""

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_credentials(self, trial: Trial, status: int) -> None:
        """401 and 403 park the system's steps; nothing is concluded."""
        trial.needs(Need.HTTP)
        self.all_fail(trial, trial.status_fault(status), CredentialsRefused)

    def test_a_wrong_credential_is_refused(self, trial: Trial) -> None:
        """The stand-in's own refusal, as the vendor would word it."""
        trial.needs(Need.HTTP)
        ada = trial.seed_with_neighbours()
        entry = trial.bench.wrong_credentials(trial.stage.entry())
        connector = trial.connect(credentials=entry["credentials"])
        with pytest.raises(CredentialsRefused):
            connector.check_credentials()
        line = trial.run(ada, connector=connector)[ada.ref]
        trial.assert_ending(line, Outcome.PARKED)

    def test_a_good_credential_proves_its_sight(self, trial: Trial) -> None:
        """With a good credential there is a named proof, with and without people in the account."""
        assert trial.connect().check_credentials().proof
        trial.seed_with_neighbours()
        assert trial.connect().check_credentials().proof

    def test_a_credential_without_visibility_concludes_nothing(self, trial: Trial) -> None:
        """200 and empty, everywhere: CredentialsRefused, and nobody is absent."""
        trial.needs(Need.HTTP, Need.BLIND)
        ada = trial.seed_with_neighbours()
        connector = trial.connect()
        batch = trial.frozen(connector, ada)
        trial.breaks(Fault(FaultKind.BLIND, times=None))
        with pytest.raises(CredentialsRefused):
            connector.check_credentials()
        said: list[object] = [trial.confirm(connector, batch)[ada.ref]]
        if trial.can_locate(connector):
            said.append(trial.locate(connector, ada)[ada.ref])
        for answer in said:
            assert isinstance(answer, ConnectorError), f"a blind credential was believed: {answer!r}"
        trial.assert_ending(trial.run(ada)[ada.ref], Outcome.PARKED)

    def test_a_credential_that_goes_blind_concludes_nothing(self, trial: Trial) -> None:
        """Blind from the kth call of the look on, for every k: the person is there, so nobody may say otherwise."""
        trial.needs(Need.HTTP, Need.BLIND)
        ada = trial.seed_with_neighbours()
        connector = trial.connect()
        batch = trial.frozen(connector, ada)
        trial.sandbox.journal.clear()
        trial.confirm(connector, batch)
        for k in range(len(trial.sandbox.journal)):
            trial.breaks(Fault(FaultKind.BLIND, times=None, skip=k))
            self.not_conclusive(trial.confirm(connector, batch)[ada.ref])

    def test_a_wrong_base_url_concludes_nothing(self, trial: Trial) -> None:
        """A wrong path answers 404 to everything, and that is nobody's absence."""
        trial.needs(Need.HTTP)
        ada = trial.seed_with_neighbours()
        batch = trial.frozen(trial.connect(), ada)
        entry = trial.stage.entry()
        before = trial.peoples_rows()
        lost = trial.connect(base_url=entry["base_url"] + "/not/here")
        self.not_conclusive(trial.erase(lost, batch, SuiteLease())[ada.ref])
        self.not_conclusive(trial.confirm(lost, batch)[ada.ref])
        if trial.can_locate(lost):
            assert isinstance(trial.locate(lost, ada)[ada.ref], ConnectorError), "a wrong base URL found nothing"
        trial.assert_ending(trial.run(ada, connector=lost)[ada.ref], Outcome.PARKED)
        assert trial.peoples_rows() == before

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_rate_limited(self, trial: Trial, form: str) -> None:
        """429 with either form of Retry-After: the seconds reach the engine."""
        trial.needs(Need.HTTP)
        at = datetime.now(UTC) + timedelta(seconds=90)
        retry_after = "90" if form == "seconds" else format_datetime(at, usegmt=True)
        errors = self.all_fail(trial, trial.status_fault(429, retry_after=retry_after), TemporarilyUnavailable)
        for error in errors:
            assert isinstance(error, TemporarilyUnavailable)
            assert error.retry_after_seconds is not None, "Retry-After was lost"
            assert 30 <= error.retry_after_seconds <= 90

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_out_of_order(self, trial: Trial, status: int) -> None:
        """5xx: later."""
        trial.needs(Need.HTTP)
        self.all_fail(trial, trial.status_fault(status), TemporarilyUnavailable)

    def test_timeout(self, trial: Trial) -> None:
        """No answer in time: later, and whether the vendor acted is unknown."""
        trial.needs(Need.HTTP)
        # A stage of its own: a stalled call still acts when its caller is long gone.
        with trial.bench.open() as stage, Trial(trial.bench, stage) as alone:
            fault = Fault(FaultKind.STALL, seconds=_STALL_SECONDS, times=None)
            self.all_fail(alone, fault, TemporarilyUnavailable, timeout_seconds=_TIMEOUT_SECONDS)

    @pytest.mark.parametrize("kind", [FaultKind.DROP_BEFORE, FaultKind.HALF_BODY])
    def test_broken_connection(self, trial: Trial, kind: FaultKind) -> None:
        """The line is cut before or in the middle of every answer: later."""
        trial.needs(Need.HTTP)
        self.all_fail(trial, Fault(kind, times=None), TemporarilyUnavailable)

    @pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.HUGE, FaultKind.REDIRECT])
    def test_answers_that_are_none(self, trial: Trial, kind: FaultKind) -> None:
        """A maintenance page with 200, eleven megabytes, another address: not understood, nothing concluded."""
        trial.needs(Need.HTTP)
        self.all_fail(trial, Fault(kind, times=None, seconds=11), AnswerNotUnderstood)

    def all_fail(
        self, trial: Trial, fault: Fault, wanted: type[ConnectorError], **changes: float
    ) -> list[ConnectorError]:
        """With this fault on every call each operation gives that error and changes nothing."""
        ada = trial.seed_with_neighbours()
        batch = trial.frozen(trial.connect(), ada)
        connector = trial.connect(**changes)
        before = trial.peoples_rows()
        errors = []
        searches = (self._locate,) if trial.can_locate(connector) else ()
        for ask in (*searches, self._erase, self._confirm):
            trial.breaks(replace(fault))
            answer = ask(trial, connector, batch, ada)
            assert isinstance(answer, wanted), f"{ask.__name__} answered {answer!r} instead of {wanted.__name__}"
            errors.append(answer)
        if fault.kind not in (FaultKind.STALL, FaultKind.HALF_BODY):
            assert trial.peoples_rows() == before
        return errors

    def not_conclusive(self, answer: Answer | ConnectorError) -> None:
        """Neither erased nor absent."""
        conclusive = isinstance(answer, Answer) and answer.kind in _CONCLUSIVE
        assert not conclusive, f"concluded from nothing: {answer!r}"

    def _locate(self, trial: Trial, connector: Connector, _: Batch, person: Plant) -> Answer | Located | ConnectorError:
        return trial.locate(connector, person)[person.ref]

    def _erase(
        self, trial: Trial, connector: Connector, batch: Batch, person: Plant
    ) -> Answer | Located | ConnectorError:
        return trial.erase(connector, batch, SuiteLease())[person.ref]

    def _confirm(
        self, trial: Trial, connector: Connector, batch: Batch, person: Plant
    ) -> Answer | Located | ConnectorError:
        return trial.confirm(connector, batch)[person.ref]
