"""The conformance suite that every connector passes, ours and third parties' alike. Needs pytest."""

import pytest

for _module in ("case", "cases_people", "cases_lease", "cases_access", "cases_crash", "cases_silence"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from connectors.testing.conformance.case import Case  # noqa: E402 - rewriting comes first
from connectors.testing.conformance.people import TestPerson  # noqa: E402
from connectors.testing.conformance.suite import ConformanceSuite  # noqa: E402
from connectors.testing.conformance.vendor_fixture import (  # noqa: E402
    HttpVendorFixture,
    Need,
    RunningVendor,
    VendorFixture,
)

__all__ = ["Case", "ConformanceSuite", "HttpVendorFixture", "Need", "RunningVendor", "TestPerson", "VendorFixture"]
