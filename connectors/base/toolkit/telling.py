"""What an answer of `erase` tells: what this batch erased so far, less what was recorded of it already.

Decides the arithmetic; which records a batch erased is the connector's to know, in its resume token. An answer that was
lost before anybody recorded it is thus told again, and one that was recorded never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def untold(erased: Mapping[str, int], before: Mapping[str, int], counted: Mapping[str, int]) -> dict[str, int]:
    """Records per object for the next answer; never negative.

    `erased`: all that this batch did. `before`: `Subject.counted` when the batch began with the person, kept in the
    resume token, since the same field tells more and more while the batch goes on. `counted`: the field now.
    """
    return dict(sorted((Counter(before) + Counter(erased) - Counter(counted)).items()))
