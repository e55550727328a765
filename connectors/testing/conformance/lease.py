"""The engine's side of a batch under test: it can stop people, be lost, and die with the process.

Decides when a `may_proceed` or a `save` goes wrong; the cases decide what must then be true.
"""

from __future__ import annotations

from collections.abc import Callable

from connectors.base.errors import LeaseLost


class SuiteLease:
    """A lease whose every question is heard. `on_ask` sees each `may_proceed` before it is answered.

    `is_dead`: as soon as it says so the process has crashed, and nothing is stored any more.
    """

    def __init__(
        self,
        resume_token: bytes | None = None,
        *,
        on_ask: Callable[[str], None] | None = None,
        is_dead: Callable[[], bool] | None = None,
    ) -> None:
        self.asks: list[str] = []
        self.saves = 0
        self.stopped: set[str] = set()
        self.lost_at_ask: int | None = None
        self.lost_at_save: int | None = None
        self._token = resume_token
        self.on_ask = on_ask
        self.on_loss: Callable[[], None] | None = None
        self._is_dead = is_dead

    @property
    def resume_token(self) -> bytes | None:
        """The token stored last."""
        return self._token

    def save(self, resume_token: bytes) -> None:
        """Store, unless the process is dead or the lease is lost."""
        self.saves += 1
        if self.lost_at_save is not None and self.saves >= self.lost_at_save:
            self._lose()
        if self._is_dead is None or not self._is_dead():
            self._token = resume_token

    def may_proceed(self, ref: str) -> bool:
        """False for stopped people."""
        self.asks.append(ref)
        if self.lost_at_ask is not None and len(self.asks) >= self.lost_at_ask:
            self._lose()
        if self.on_ask is not None:
            self.on_ask(ref)
        return ref not in self.stopped

    def _lose(self) -> None:
        if self.on_loss is not None:
            self.on_loss()
        raise LeaseLost
