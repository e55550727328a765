"""Decide whether the evidence keeps up with the work, and which work may be leased while it doesn't.

Beyond the bounds of `[audit]` no suppression or erasure starts; searches and looks continue, because they change
nothing in any system. No step is moved or parked for it, so that the steps stay due and continue when the log is signed
and anchored again. domain.audit.evidence_bounds has the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, Engine

from connectors.base.transitions.states import EFFECT_PHASES, Phase
from service.domain.audit.evidence_bounds import EvidenceBounds, StopReason, why_effects_stop
from service.settings import Settings
from service.store.anchors.configured import anchor_names
from service.store.audit_log.evidence_lag import read_evidence_lag
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.signing_key import SigningKeyUnusable
from service.store.audit_log.troubles import (
    SIGNING,
    AuditTrouble,
    audit_troubles,
    end_signing_trouble,
    note_signing_trouble,
)
from service.store.stores import Stores

SIGNING_KEY_UNUSABLE = "signing_key_unusable"
AUDIT_LOG_BROKEN = "audit_log_broken"
_WORDS = {
    StopReason.UNSEQUENCED: "audit entries wait too long to be signed",
    StopReason.UNANCHORED: "no anchor has taken a signed head for too long",
}


@dataclass(frozen=True)
class EvidenceStanding:
    """The parts of the evidence that fail now, and the reasons why no new effect starts."""

    troubles: tuple[AuditTrouble, ...]
    stopped: tuple[StopReason, ...]

    def codes(self) -> tuple[str, ...]:
        """Return the reasons why the service isn't ready, as codes.

        A failing signature is one at once, an unreachable anchor only after effects have stopped.
        """
        signing = tuple(each.code for each in self.troubles if each.part == SIGNING)
        return (*signing, *self.stopped)

    def lines(self) -> tuple[str, ...]:
        """Return the reasons and each failing anchor, in words for the operator's console."""
        failing = tuple(each.reason for each in self.troubles)
        stopped = tuple(f"NOTHING NEW IS ERASED: {_WORDS[reason]} ({reason})" for reason in self.stopped)
        return (*stopped, *failing)


def evidence_standing(stores: Stores, settings: Settings) -> EvidenceStanding:
    """Return the standing as of now. Raises the database driver's errors."""
    with stores.engine.begin() as connection:
        return EvidenceStanding(tuple(audit_troubles(connection)), effects_stopped(connection, settings))


@contextmanager
def signing_noted(engine: Engine) -> Iterator[None]:
    """Write whether the block could sign: the error's reason while it fails, or its end.

    The error is raised again.
    """
    try:
        yield
    except SigningKeyUnusable as error:
        note_signing_trouble(engine, SIGNING_KEY_UNUSABLE, f"the audit log can't be signed: {error}")
        raise
    except AuditLogBroken as broken:
        note_signing_trouble(engine, AUDIT_LOG_BROKEN, f"the audit log doesn't agree with itself: {broken.code}")
        raise
    else:
        end_signing_trouble(engine)


def effects_stopped(connection: Connection, settings: Settings) -> tuple[StopReason, ...]:
    """Return why no new effect may start; none if it may."""
    audit = settings.audit
    bounds = EvidenceBounds(
        unsequenced=timedelta(seconds=audit.max_unsequenced_seconds),
        unsequenced_entries=audit.max_unsequenced_entries,
        unanchored=timedelta(seconds=audit.max_unanchored_seconds),
    )
    return why_effects_stop(read_evidence_lag(connection, anchor_names(settings)), bounds)


def leasable_phases(connection: Connection, settings: Settings) -> frozenset[Phase]:
    """Return the phases whose work may be leased now: all of them, or those without effects."""
    every = frozenset(Phase)
    return every - EFFECT_PHASES if effects_stopped(connection, settings) else every
