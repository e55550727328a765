"""Keep what the last check of a system's credential said, for whoever looks at the list of systems."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text

from service.store.stores import Stores


def record_checks(stores: Stores, results: Mapping[str, str]) -> None:
    """Write one code per system's name; names that aren't connected are passed over."""
    with stores.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE systems s SET checked_at = clock_timestamp(), check_result = n.result"
                " FROM unnest(CAST(:names AS text[]), CAST(:results AS text[])) AS n(name, result)"
                " WHERE s.name = n.name"
            ),
            {"names": list(results), "results": list(results.values())},
        )
