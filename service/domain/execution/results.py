"""Give the rule for a connector's result the name by which the service imports it.

The rule is in `connectors.base.transitions`, because the connector runner uses it as well and must not import the
service.
"""

from connectors.base.transitions.results import (
    UNADDRESSABLE,
    after_confirm,
    after_erase,
    after_error,
    after_locate,
    after_look,
    after_result,
    after_suppress,
    after_unaddressable_search,
    first_phase,
    is_worth_a_look,
    looks_at_once,
    remaining,
)

__all__ = [
    "UNADDRESSABLE",
    "after_confirm",
    "after_erase",
    "after_error",
    "after_locate",
    "after_look",
    "after_result",
    "after_suppress",
    "after_unaddressable_search",
    "first_phase",
    "is_worth_a_look",
    "looks_at_once",
    "remaining",
]
