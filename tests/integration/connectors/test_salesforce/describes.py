"""Where real describes lie, if this machine has them: beside the repository, or where SALESFORCE_DESCRIBES says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[5] / "shared" / "data" / "salesforce-describe"
DESCRIBES = Path(os.environ.get("SALESFORCE_DESCRIBES", _BESIDE))
needs_describes = pytest.mark.skipif(not DESCRIBES.is_dir(), reason="no real describes beside the repository")
