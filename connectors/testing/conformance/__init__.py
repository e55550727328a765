"""The conformance suite that every connector passes, ours and third parties' alike. Needs pytest."""

import pytest

for _module in ("trial", "cases_people", "cases_lease", "cases_access", "cases_crash", "cases_silence"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from connectors.testing.conformance.bench import Bench, HttpBench, Need, Stage  # noqa: E402 - rewriting comes first
from connectors.testing.conformance.people import Plant  # noqa: E402
from connectors.testing.conformance.suite import ConformanceSuite  # noqa: E402
from connectors.testing.conformance.trial import Trial  # noqa: E402

__all__ = ["Bench", "ConformanceSuite", "HttpBench", "Need", "Plant", "Stage", "Trial"]
