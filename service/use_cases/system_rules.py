"""What the rules of steps need to know of a system: from its connector's declaration and from the configuration."""

from __future__ import annotations

from connectors.base.interface import ErasesBy, Operation
from connectors.base.registry import connector_class
from service.domain.outcomes import SystemRules
from service.settings import Settings


def rules_of(settings: Settings, system: str) -> SystemRules:
    """The rules of one configured system. Raises KeyError for a system that isn't configured any more."""
    configured = settings.system(system)
    declaration = connector_class(configured.config.connector).declaration
    delays = configured.config.delays
    return SystemRules(
        can_confirm=declaration.can_confirm,
        suppresses=Operation.SUPPRESS in declaration.operations and declaration.suppress_first,
        erases_by_identifiers=declaration.erases_by is ErasesBy.IDENTIFIERS,
        accept_not_addressable=configured.accept_not_addressable,
        confirm_after=delays.get("confirm_after", declaration.delays.confirm_after),
        searches_first=declaration.searches_first,
        poll_every=delays.get("poll_every", declaration.delays.poll_every),
        max_rounds=settings.engine.max_plan_rounds,
    )


def batch_limit(settings: Settings, system: str, operation: Operation) -> int:
    """The most people that one batch of this operation may hold."""
    configured = settings.system(system)
    declared = connector_class(configured.config.connector).declaration.batch_limit(operation)
    return min(declared, settings.engine.batch_size)
