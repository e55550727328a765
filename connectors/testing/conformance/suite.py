"""The suite as a pytest class. A connector's tests are three lines: a class, its bench, done.

    class TestAcme(ConformanceSuite):
        bench = AcmeBench()

Decides when a world is made new and that every case ends with a search for personal data in whatever was said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar

import pytest

from connectors.testing.conformance.bench import Bench, Stage
from connectors.testing.conformance.cases_access import AccessCases
from connectors.testing.conformance.cases_callbacks import CallbackCases
from connectors.testing.conformance.cases_changes import ChangesCases
from connectors.testing.conformance.cases_counting import CountingCases
from connectors.testing.conformance.cases_crash import CrashCases
from connectors.testing.conformance.cases_lease import LeaseCases
from connectors.testing.conformance.cases_people import PeopleCases
from connectors.testing.conformance.cases_silence import SilenceCases
from connectors.testing.conformance.trial import Trial


class ConformanceSuite(
    PeopleCases, LeaseCases, AccessCases, CrashCases, CountingCases, CallbackCases, ChangesCases, SilenceCases
):
    """All cases, for the connector of `bench`. One system per class, an empty account per case."""

    bench: ClassVar[Bench]
    _stage: ClassVar[Stage]
    _running: ClassVar[ExitStack]

    @classmethod
    def setup_class(cls) -> None:
        """Start the system."""
        cls._running = ExitStack()
        cls._stage = cls._running.enter_context(cls.bench.open())

    @classmethod
    def teardown_class(cls) -> None:
        """Stop it."""
        cls._running.close()

    @pytest.fixture
    def trial(self, caplog: pytest.LogCaptureFixture) -> Iterator[Trial]:
        """An account without people; afterwards nothing personal may have been logged, raised or printed."""
        caplog.set_level(logging.DEBUG)
        with Trial(self.bench, self._stage) as trial:
            yield trial
            trial.assert_silent(caplog.text)
