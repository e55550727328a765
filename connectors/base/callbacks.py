"""A vendor's callback: headers and raw bytes, from which a connector reads a hint or which it refuses.

Decides the values only. A callback is never believed: it names at most the jobs that are worth a look now.
`toolkit.callbacks` checks signatures; the engine decides when to look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_CODE = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True, slots=True)
class CallbackCall:
    """One HTTP request as it came. `headers` have lower-case names; `body` are the bytes that were signed.

    Neither shows in `repr`: nobody knows yet who sent them.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """A header by its name, in whatever case."""
        return self.headers.get(name.lower())


@dataclass(frozen=True, slots=True)
class Callback:
    """The jobs that a genuine call names. Build it with the constructors.

    `jobs`, or `any_job` where the vendor doesn't name them; neither for a test call.
    """

    jobs: frozenset[str] = field(default=frozenset(), repr=False)
    any_job: bool = False

    @classmethod
    def of(cls, jobs: Iterable[str]) -> Callback:
        """The vendor names jobs, as the connector named them in `Answer.accepted(jobs=...)`."""
        return cls(jobs=frozenset(jobs))

    @classmethod
    def of_any_job(cls) -> Callback:
        """Something has happened in this system, and the vendor doesn't say to which job."""
        return cls(any_job=True)

    @classmethod
    def of_nothing(cls) -> Callback:
        """Genuine, and about no job: a test call, an event that we don't wait for."""
        return cls()


class CallbackRefused(Exception):  # noqa: N818 - says what is true
    """The call isn't the vendor's, is too old, or can't be read.

    `code` is ours and holds nothing of the call.
    """

    def __init__(self, code: str) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError("a refusal's code is lower-case letters, digits and _ only")
        super().__init__(code)
        self.code = code
