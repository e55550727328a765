"""What a connector's result makes of a step, under the name by which the service knows it.

The rule stands in `connectors.base.transitions`, because the connector runner uses it as well and must not import the
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
]
