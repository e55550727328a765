"""End to end in an org of real, recorded describes: hundreds of objects, real flags, a package's restricts.

The stand-in serves the recorded describes unmodified where there are any, and ours for what nobody recorded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.base.runner import Outcome

from .connecting import serving
from .describes import DESCRIBES, needs_describes
from .gods_view import GodsView
from .world import hard_world

pytestmark = needs_describes
_ENDS = {"p0": Outcome.ERASED_VERIFIED, "zoe": Outcome.ERASED_VERIFIED, "ada": Outcome.RETAINED}


@pytest.mark.parametrize(
    ("ref", "person_accounts"),
    [
        ("ada", True),
        pytest.param("p0", True, marks=pytest.mark.long),
        pytest.param("zoe", True, marks=pytest.mark.long),
        pytest.param("ada", False, marks=pytest.mark.long),
        pytest.param("p0", False, marks=pytest.mark.long),
    ],
)
def test_nothing_is_left_and_nobody_else_touched(ref: str, person_accounts: bool, tmp_path: Path) -> None:
    world = hard_world(tasks=25)
    if not person_accounts:
        world.without_person_accounts()
    with serving(world, describe_directory=str(DESCRIBES), person_accounts=person_accounts) as org:
        # Schemas are cached per org and version, and every stand-in is the same org.
        policy = {"cache_directory": str(tmp_path / "cache")}
        view = GodsView(org.sandbox, world.people[ref])
        line = org.erase(ref, policy=policy, wait=5).lines[ref]
        assert view.violations(line) == {}
        assert line.outcome is _ENDS[ref]
