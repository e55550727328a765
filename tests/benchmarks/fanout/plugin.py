"""The benchmark's connectors arrive as a third party's would: by an installed distribution's entry points."""

from __future__ import annotations

import sys
from pathlib import Path

_METADATA = "Metadata-Version: 2.1\nName: expunge-bench\nVersion: 0\n"
_ENTRY_POINTS = """[expunge.connectors]
bench_one = tests.benchmarks.fanout.connectors:OnePerCall
bench_many = tests.benchmarks.fanout.connectors:ManyPerCall
bench_told = tests.benchmarks.fanout.connectors:ToldPerCall
"""


def install_plugin(directory: Path) -> str:
    """Install for this process; returns the PYTHONPATH with which other processes have it, too."""
    place = directory / "expunge_bench-0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(_METADATA)
    (place / "entry_points.txt").write_text(_ENTRY_POINTS)
    sys.path.append(str(directory))
    return f"{Path(__file__).parents[3]}:{directory}"
