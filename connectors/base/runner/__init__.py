"""Run one connector to the end without the service, to try a system out or under another engine."""

from connectors.base.runner.endings import NEEDS_A_HUMAN, Line, Outcome, Summary
from connectors.base.runner.run import MAX_ROUNDS, MemoryLease, Patience, run

__all__ = ["MAX_ROUNDS", "NEEDS_A_HUMAN", "Line", "MemoryLease", "Outcome", "Patience", "Summary", "run"]
