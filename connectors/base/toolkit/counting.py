"""Counts for an answer of `erase`: records that this batch erased, less those reported earlier.

Decides the arithmetic; the connector knows from its resume token which records a batch erased. Counts of an answer that
was lost before it was recorded are therefore reported again, and counts of a recorded answer are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def unreported(
    erased: Mapping[str, int], reported_at_start: Mapping[str, int], already_reported: Mapping[str, int]
) -> dict[str, int]:
    """Records per object for the next answer; never negative.

    `erased`: all that this batch did. `already_reported`: `Subject.already_reported` now. `reported_at_start`: the same
    field when the batch began with the person. The connector keeps it in its resume token, because the field grows
    while the batch goes on.
    """
    return dict(sorted((Counter(reported_at_start) + Counter(erased) - Counter(already_reported)).items()))
