"""Read the facts about a system that the rules of steps need.

They come from its connector's declaration and from the configuration.
"""

from __future__ import annotations

from connectors.base.interface import ErasesBy, Operation
from connectors.base.registry import connector_class
from connectors.base.transitions.results import looks_at_once
from connectors.base.transitions.states import SystemRules
from service.settings import Settings

_NEARLY = 0.9


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
        reads_suppression=Operation.READ_SUPPRESSION in declaration.operations,
        poll_every=delays.get("poll_every", declaration.delays.poll_every),
        max_plan_rounds=settings.engine.max_plan_rounds,
        not_covered=declaration.not_covered,
    )


def batch_limit(settings: Settings, system: str, operation: Operation) -> int:
    """The most people that one batch of this operation may hold.

    Where the look may follow the erasing call at once and takes nearly as many people, the erasing call takes no more
    than that: a few people less a call are cheaper than a second pass for all of them.
    """
    declaration = connector_class(settings.system(system).config.connector).declaration
    declared = declaration.batch_limit(operation)
    if operation is Operation.ERASE and looks_at_once(rules_of(settings, system)):
        looked_at = declaration.batch_limit(Operation.CONFIRM)
        if declared * _NEARLY <= looked_at:
            declared = min(declared, looked_at)
    return min(declared, settings.engine.batch_size)
