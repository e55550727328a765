"""Where real describes lie, if this machine has them."""

from __future__ import annotations

from pathlib import Path

import pytest

DESCRIBES = Path(__file__).parents[5] / "shared" / "data" / "salesforce-describe"
needs_describes = pytest.mark.skipif(not DESCRIBES.is_dir(), reason="no real describes beside the repository")
