"""Cases about a system that refuses, fails or can't see: none may look like absence or success."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import Connector
from connectors.base.runner import Outcome
from connectors.base.values import Answer, AnswerKind, Batch, Located
from connectors.testing.conformance.case import Case
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import TestPerson
from connectors.testing.conformance.vendor_fixture import Need
from connectors.testing.sandbox.faults import Fault, FaultKind

_CONCLUSIVE = (AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT)
_STALL_SECONDS = 1.2
_TIMEOUT_SECONDS = 0.3


class AccessCases:
    """Mixed into ConformanceSuite."""

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_credentials(self, case: Case, status: int) -> None:
        """401 and 403 park the system's steps; nothing is concluded."""
        case.needs(Need.HTTP)
        self.all_fail(case, case.status_fault(status), CredentialsRefused)

    def test_a_wrong_credential_is_refused(self, case: Case) -> None:
        """The stand-in's own refusal, as the vendor would word it."""
        case.needs(Need.HTTP)
        ada = case.seed_with_neighbours()
        entry = case.vendor.wrong_credentials(case.running.entry())
        connector = case.connect(credentials=entry["credentials"])
        with pytest.raises(CredentialsRefused):
            connector.check_credentials()
        line = case.run(ada, connector=connector)[ada.ref]
        case.assert_ending(line, Outcome.PARKED)

    def test_a_good_credential_proves_its_visibility(self, case: Case) -> None:
        """With a good credential there is a named proof, with and without people in the account."""
        assert case.connect().check_credentials().proof
        case.seed_with_neighbours()
        assert case.connect().check_credentials().proof

    def test_a_credential_without_visibility_concludes_nothing(self, case: Case) -> None:
        """Every answer is 200 and empty: CredentialsRefused, and no person is absent."""
        case.needs(Need.HTTP, Need.BLIND)
        ada = case.seed_with_neighbours()
        connector = case.connect()
        batch = case.frozen(connector, ada)
        case.breaks(Fault(FaultKind.BLIND, times=None))
        with pytest.raises(CredentialsRefused):
            connector.check_credentials()
        said: list[object] = [case.confirm(connector, batch)[ada.ref]]
        if case.can_locate(connector):
            said.append(case.locate(connector, ada)[ada.ref])
        for answer in said:
            assert isinstance(answer, ConnectorError), f"a blind credential was believed: {answer!r}"
        case.assert_ending(case.run(ada)[ada.ref], Outcome.PARKED)

    def test_a_credential_that_goes_blind_concludes_nothing(self, case: Case) -> None:
        """The credential is blind from the kth call of the look on, for every k.

        The person is there, so no answer may say otherwise.
        """
        case.needs(Need.HTTP, Need.BLIND)
        ada = case.seed_with_neighbours()
        connector = case.connect()
        batch = case.frozen(connector, ada)
        case.sandbox.journal.clear()
        case.confirm(connector, batch)
        for k in range(len(case.sandbox.journal)):
            case.breaks(Fault(FaultKind.BLIND, times=None, skip=k))
            self.not_conclusive(case.confirm(connector, batch)[ada.ref])

    def test_a_wrong_base_url_concludes_nothing(self, case: Case) -> None:
        """A wrong path answers 404 to everything, and that is nobody's absence."""
        case.needs(Need.HTTP)
        ada = case.seed_with_neighbours()
        batch = case.frozen(case.connect(), ada)
        entry = case.running.entry()
        before = case.peoples_rows()
        lost = case.connect(base_url=entry["base_url"] + "/not/here")
        self.not_conclusive(case.erase(lost, batch, SuiteLease())[ada.ref])
        self.not_conclusive(case.confirm(lost, batch)[ada.ref])
        if case.can_locate(lost):
            assert isinstance(case.locate(lost, ada)[ada.ref], ConnectorError), "a wrong base URL found nothing"
        case.assert_ending(case.run(ada, connector=lost)[ada.ref], Outcome.PARKED)
        assert case.peoples_rows() == before

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_rate_limited(self, case: Case, form: str) -> None:
        """429 with either form of Retry-After: the seconds reach the engine."""
        case.needs(Need.HTTP)
        at = datetime.now(UTC) + timedelta(seconds=90)
        retry_after = "90" if form == "seconds" else format_datetime(at, usegmt=True)
        errors = self.all_fail(case, case.status_fault(429, retry_after=retry_after), TemporarilyUnavailable)
        for error in errors:
            assert isinstance(error, TemporarilyUnavailable)
            assert error.retry_after_seconds is not None, "Retry-After was lost"
            assert 30 <= error.retry_after_seconds <= 90

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_out_of_order(self, case: Case, status: int) -> None:
        """5xx: later."""
        case.needs(Need.HTTP)
        self.all_fail(case, case.status_fault(status), TemporarilyUnavailable)

    def test_timeout(self, case: Case) -> None:
        """No answer in time: later, and whether the vendor acted is unknown."""
        case.needs(Need.HTTP)
        # A running vendor of its own: a stalled call still acts when its caller is long gone.
        with case.vendor.open() as running, Case(case.vendor, running) as alone:
            fault = Fault(FaultKind.STALL, seconds=_STALL_SECONDS, times=None)
            self.all_fail(alone, fault, TemporarilyUnavailable, timeout_seconds=_TIMEOUT_SECONDS)

    @pytest.mark.parametrize("kind", [FaultKind.DROP_BEFORE, FaultKind.HALF_BODY])
    def test_broken_connection(self, case: Case, kind: FaultKind) -> None:
        """The line is cut before or in the middle of every answer: later."""
        case.needs(Need.HTTP)
        self.all_fail(case, Fault(kind, times=None), TemporarilyUnavailable)

    @pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.HUGE, FaultKind.REDIRECT])
    def test_answers_that_are_none(self, case: Case, kind: FaultKind) -> None:
        """A maintenance page with 200, eleven megabytes, another address: not understood, nothing concluded."""
        case.needs(Need.HTTP)
        self.all_fail(case, Fault(kind, times=None, seconds=11), AnswerNotUnderstood)

    def all_fail(
        self, case: Case, fault: Fault, wanted: type[ConnectorError], **changes: float
    ) -> list[ConnectorError]:
        """With this fault on every call each operation gives that error and changes nothing."""
        ada = case.seed_with_neighbours()
        batch = case.frozen(case.connect(), ada)
        connector = case.connect(**changes)
        before = case.peoples_rows()
        errors = []
        searches = (self._locate,) if case.can_locate(connector) else ()
        for ask in (*searches, self._erase, self._confirm):
            case.breaks(replace(fault))
            answer = ask(case, connector, batch, ada)
            assert isinstance(answer, wanted), f"{ask.__name__} answered {answer!r} instead of {wanted.__name__}"
            errors.append(answer)
        if fault.kind not in (FaultKind.STALL, FaultKind.HALF_BODY):
            assert case.peoples_rows() == before
        return errors

    def not_conclusive(self, answer: Answer | ConnectorError) -> None:
        """Neither erased nor absent."""
        conclusive = isinstance(answer, Answer) and answer.kind in _CONCLUSIVE
        assert not conclusive, f"concluded from nothing: {answer!r}"

    def _locate(
        self, case: Case, connector: Connector, _: Batch, person: TestPerson
    ) -> Answer | Located | ConnectorError:
        return case.locate(connector, person)[person.ref]

    def _erase(
        self, case: Case, connector: Connector, batch: Batch, person: TestPerson
    ) -> Answer | Located | ConnectorError:
        return case.erase(connector, batch, SuiteLease())[person.ref]

    def _confirm(
        self, case: Case, connector: Connector, batch: Batch, person: TestPerson
    ) -> Answer | Located | ConnectorError:
        return case.confirm(connector, batch)[person.ref]
