"""The suite as a pytest class. A connector's tests are three lines: a class, its fixture, done.

    class TestAcme(ConformanceSuite):
        vendor = AcmeFixture()

Decides when a world is made new and that every case ends with a search for personal data in whatever was said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar

import pytest

from connectors.testing.conformance.case import Case
from connectors.testing.conformance.cases_access import AccessCases
from connectors.testing.conformance.cases_callbacks import CallbackCases
from connectors.testing.conformance.cases_changes import ChangesCases
from connectors.testing.conformance.cases_counting import CountingCases
from connectors.testing.conformance.cases_crash import CrashCases
from connectors.testing.conformance.cases_lease import LeaseCases
from connectors.testing.conformance.cases_people import PeopleCases
from connectors.testing.conformance.cases_silence import SilenceCases
from connectors.testing.conformance.cases_suppression import SuppressionCases
from connectors.testing.conformance.cases_suppression_read import SuppressionReadCases
from connectors.testing.conformance.vendor_fixture import RunningVendor, VendorFixture


class ConformanceSuite(
    PeopleCases,
    LeaseCases,
    SuppressionCases,
    SuppressionReadCases,
    AccessCases,
    CrashCases,
    CountingCases,
    CallbackCases,
    ChangesCases,
    SilenceCases,
):
    """All cases, for the connector of `vendor`. One system per class, an empty account per case."""

    vendor: ClassVar[VendorFixture]
    _running: ClassVar[RunningVendor]
    _resources: ClassVar[ExitStack]

    @classmethod
    def setup_class(cls) -> None:
        """Start the system."""
        cls._resources = ExitStack()
        cls._running = cls._resources.enter_context(cls.vendor.open())

    @classmethod
    def teardown_class(cls) -> None:
        """Stop it."""
        cls._resources.close()

    @pytest.fixture
    def case(self, caplog: pytest.LogCaptureFixture) -> Iterator[Case]:
        """An account without people; afterwards nothing personal may have been logged, raised or printed."""
        caplog.set_level(logging.DEBUG)
        with Case(self.vendor, self._running) as case:
            yield case
            case.assert_silent(caplog.text)
