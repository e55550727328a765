"""Where figures go: one line each, and bench.json, where a figure replaces the earlier one of its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def tell(results: Sequence[dict[str, Any]], out: Path | None) -> None:
    """Print all of them, and keep them in `out` beside what stands there under other names."""
    for each in results:
        print(json.dumps(each))
    if out is None:
        return
    names = {each["name"] for each in results}
    known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    kept = [each for each in known if each["name"] not in names]
    out.write_text(json.dumps([*kept, *results], indent=2) + "\n", encoding="utf-8")
