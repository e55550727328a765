"""Conditions that several `.sql` files repeat agree: PostgreSQL takes a partial index only for its own words."""

from __future__ import annotations

import re

import pytest

from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE, URGENT_FAIR_QUEUE
from service.requests.imports.paused import HALTED_IMPORTS
from service.store.sql_files import load_sql
from service.store.tables.work import StepRow

EXECUTION = "service.execution"
SCANS = ("heads", "oldest_due", "due_of_all_queues", "due_of_one_queue")
LOCKS = ("lock_due_by_id", "lock_due_of_batch")


def _scan(statement: str, name: str) -> str:
    """The common table expression of this name, with its white space made equal and without the list of phases."""
    words = " ".join(statement.split())
    begin = words.index(f"{name} AS (")
    depth = 0
    for place in range(words.index("(", begin), len(words)):
        depth += {"(": 1, ")": -1}.get(words[place], 0)
        if not depth:
            return re.sub(r"unnest\(.*?\) AS p\(phase\)", "unnest() AS p(phase)", words[begin : place + 1])
    raise AssertionError(f"{name} has no end")


def test_the_groups_of_due_steps_are_found_alike_in_all_statements() -> None:
    assert len({_scan(load_sql(EXECUTION, name), "fresh_group") for name in SCANS}) == 1
    assert len({_scan(load_sql(EXECUTION, name), "again_group") for name in SCANS[:2]}) == 1


@pytest.mark.parametrize("name", [*SCANS, *LOCKS])
def test_steps_of_halted_imports_are_left_out_by_the_one_rule(name: str) -> None:
    statement = load_sql(EXECUTION, name)
    rules = re.findall(r"fair_queue NOT IN \((SELECT .*?\))\)", " ".join(statement.split()))
    # Each branch that picks or locks due steps has the rule.
    assert len(rules) == (2 if name in SCANS[:2] else 1)
    assert set(rules) == {HALTED_IMPORTS}


def test_the_queues_in_the_statements_are_the_domains() -> None:
    statement = load_sql(EXECUTION, "due_of_all_queues")
    named = set(re.findall(r"'([0-9a-f-]{36})'", statement))
    assert named == {str(DEFAULT_FAIR_QUEUE), str(URGENT_FAIR_QUEUE)}


def test_the_scans_use_the_words_of_their_partial_indexes() -> None:
    conditions = {
        str(index.name): str(index.dialect_options["postgresql"]["where"]) for index in StepRow.__table__.indexes
    }
    for index, scan in (("ix_steps_fresh", "fresh_group"), ("ix_steps_again", "again_group")):
        words = _scan(load_sql(EXECUTION, "heads"), scan).replace("s.", "")
        assert conditions[index] in words, index
