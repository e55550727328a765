"""An empty story of requests."""

from __future__ import annotations

import pytest

from tests.integration.audit.story import Story
from tests.unit.domain.reports.days import at


@pytest.fixture
def story() -> Story:
    story = Story()
    story.system("support", at(0))
    story.system("mail", at(0), connector="mailchimp")
    return story
