"""Reports are what anybody computes who has the exported log: a second, independent computation gives the same numbers.

The second one is written in SQL over the JSON lines alone; it shares no code, no types and no tables with the service.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from sqlalchemy import Engine

from service.audit.exports.full import export_audit
from service.audit.exports.report import REPORTS, ComputedReport, report_from_log
from service.domain.audit.schema import instant_text
from service.domain.audit.signed_note import SigningKey
from service.domain.errors import NotFound
from service.domain.reports.report import parse_period
from service.store.audit_log.findings import AuditLogBroken
from tests.integration.audit.story import Story, ended, failed

DAY = datetime(2025, 11, 20, 9, 0, tzinfo=UTC)
OUTCOMES = ("erased_verified", "erased_unverified", "absent", "suppressed", "retained", "not_addressable", "unresolved")
REASONS = (
    "insuf_verification",
    "no_match",
    "claim_not_covered",
    "suspected_fraud",
    "outside_jurisdiction",
    "too_many_requests",
    "other",
)


def random_story(seed: int, requests: int = 120) -> Story:
    """Requests over a year and a half with every kind of end."""
    chance, story = random.Random(seed), Story()
    systems = ("support", "mail", "crm")
    for system in systems:
        story.system(system, DAY, connector=f"kind-{system}")
    for number in range(requests):
        word, at = f"r{number}", DAY + timedelta(hours=chance.randrange(0, 24 * 500))
        kind = chance.choice(("erasure", "suppression"))
        story.request(word, at, kind=kind, regime=chance.choice(("ccpa", "gdpr")))
        for system in chance.sample(systems, chance.randrange(0, 4)):
            answers = [failed() for _ in range(chance.randrange(0, 3))]
            if chance.random() < 0.9:
                left = chance.choice((0, 0, 0, 2))
                answers.append(ended(chance.choice(OUTCOMES), records=chance.randrange(0, 5), left=left))
            story.step(word, system, at + timedelta(hours=chance.randrange(1, 90)), *answers)
        if chance.random() < 0.2:
            due = instant_text(at + timedelta(days=89))
            story.about(word, "request_extended", at + timedelta(days=9), respond_by=due, reason="complexity")
        answered = at + timedelta(days=chance.randrange(4, 60), minutes=chance.randrange(0, 1440))
        end = chance.choice(("fulfilled", "fulfilled", "fulfilled", "denied", "revoked", "expired", None))
        if end == "denied":
            story.about(word, "request_denied", answered, reason=chance.choice(REASONS))
        elif end is not None:
            story.about(word, f"request_{end}", answered)
    return story


@pytest.fixture(params=[1, 2])
def log(request: pytest.FixtureRequest, engine: Engine) -> Story:
    story = random_story(request.param)
    story.log(engine)
    return story


# Eight hours behind, all year: in SQL that is a subtraction.
ZONE = ZoneInfo("Etc/GMT+8")
PERIOD = "2025-11-01..2027-12-31"


def computed(engine: Engine, key: SigningKey, name: str, form: str = "json", **more: Any) -> ComputedReport:
    asked: dict[str, Any] = {"period": parse_period(PERIOD, ZONE), "regime": None, "controller": "c", "form": form}
    return report_from_log(engine, key, name, **(asked | more))


def rows(engine: Engine, key: SigningKey, name: str, **more: Any) -> Any:
    return json.loads(computed(engine, key, name, **more).content)["rows"]


@pytest.fixture
def sql(engine: Engine, signing_key: SigningKey, log: Story, tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """The exported file as tables: one row per entry, per request, per step."""
    path = tmp_path / "audit.jsonl"
    with path.open("wb") as out:
        export_audit(engine, signing_key, out)
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE e AS SELECT json_extract_string(json, '$.entry.event') AS event,"
        " json_extract_string(json, '$.entry.object_id') AS id, json_extract(json, '$.entry.data') AS data,"
        " json_extract_string(json, '$.entry.at') AS told, CAST(json_extract(json, '$.index') AS BIGINT) AS place"
        " FROM read_ndjson_objects(?)",
        [str(path)],
    )
    connection.execute(
        "CREATE MACRO local_day(at) AS strftime(CAST(\"at\" AS TIMESTAMP) - INTERVAL 8 HOUR, '%Y-%m-%d')"
    )
    connection.execute(
        "CREATE TABLE r AS SELECT s.id, s.data->>'kind' AS kind, local_day(s.data->>'received_at') AS day,"
        " s.data->>'regime' AS regime, a.event AS ending, local_day(a.told) AS answered, a.data->>'reason' AS reason"
        " FROM e s LEFT JOIN e a ON a.id = s.id AND a.event IN"
        " ('request_fulfilled', 'request_denied', 'request_revoked', 'request_expired')"
        " WHERE s.event = 'request_submitted'"
    )
    connection.execute(
        "CREATE TABLE s AS SELECT o.id, o.request, o.system, o.opened,"
        " d.told AS ended, d.data->>'outcome' AS outcome, CAST(coalesce(d.data->>'left', '0') AS INT) AS remains"
        " FROM (SELECT id AS request, told AS opened, unnest(CAST(data->'steps' AS VARCHAR[])) AS id,"
        " unnest(CAST(data->'systems' AS VARCHAR[])) AS system FROM e WHERE event = 'request_settled') o"
        " LEFT JOIN e d ON d.id = o.id AND d.event = 'step_ended'"
    )
    return connection


NATURE = """
    SELECT r.*, CASE ending WHEN 'request_denied' THEN 'denied' WHEN 'request_revoked' THEN 'withdrawn_by_requester'
        WHEN 'request_expired' THEN 'not_verified' WHEN 'request_fulfilled' THEN
            CASE WHEN EXISTS (SELECT 1 FROM s WHERE s.request = r.id AND s.outcome IS NOT NULL
                    AND (s.remains > 0 OR s.outcome IN ('retained', 'not_addressable', 'unresolved')))
                THEN 'complied_in_part'
                WHEN EXISTS (SELECT 1 FROM s WHERE s.request = r.id AND s.outcome IS NULL) THEN 'complied_finishing'
                ELSE 'complied' END
        ELSE 'open' END AS nature,
        datediff('day', CAST(day AS DATE), CAST(answered AS DATE)) AS days
    FROM r
"""


def test_the_request_log_is_the_logs(sql: Any, engine: Engine, signing_key: SigningKey) -> None:
    expected = sql.execute(f"SELECT id, day, kind, regime, answered, nature FROM ({NATURE})").fetchall()
    names = ("request_id", "requested_on", "nature", "regime", "responded_on", "response")
    found = rows(engine, signing_key, "request-log")
    assert sorted(tuple(str(row[name]) for name in names) for row in found) == sorted(
        tuple(map(str, row)) for row in expected
    )
    assert len({row["response"] for row in found}) == 7, "every way to end is among them"


def test_the_metrics_are_the_logs(sql: Any, engine: Engine, signing_key: SigningKey) -> None:
    counted = """
        SELECT substr(day, 1, 4) AS year, {kind} AS kind, count(*) AS received,
            count(*) FILTER (nature LIKE 'complied%') AS complied,
            count(*) FILTER (nature = 'complied_in_part') AS complied_in_part,
            count(*) FILTER (nature IN ('denied', 'not_verified')) AS denied,
            count(*) FILTER (nature = 'not_verified' OR reason = 'insuf_verification') AS denied_unverifiable,
            count(*) FILTER (reason IN ('no_match', 'outside_jurisdiction')) AS denied_not_a_consumer,
            count(*) FILTER (reason = 'claim_not_covered') AS denied_exempt,
            count(*) FILTER (nature = 'withdrawn_by_requester') AS withdrawn,
            count(*) FILTER (nature = 'open') AS open,
            printf('%.2f', median(days) FILTER (nature LIKE 'complied%' OR nature = 'denied')) AS median_days,
            avg(days) FILTER (nature LIKE 'complied%' OR nature = 'denied') AS mean_days
        FROM ({nature}) GROUP BY 1, 2
    """
    kinds = ("kind", "'all'")
    sums = sql.execute(" UNION ALL ".join(counted.format(kind=kind, nature=NATURE) for kind in kinds))
    names = [column[0] for column in sums.description]
    expected = {(row[0], row[1]): dict(zip(names, row, strict=True)) for row in sums.fetchall()}
    found = {(row["year"], row["kind"]): row for row in rows(engine, signing_key, "metrics")}
    assert found.keys() == expected.keys()
    assert {year for year, _ in found} == {"2025", "2026", "2027"}
    for group, wanted in expected.items():
        mean = wanted.pop("mean_days")
        assert {name: found[group][name] for name in wanted} == wanted
        assert abs(float(found[group]["mean_days"]) - mean) <= 0.00501


def test_how_systems_did_is_the_logs(sql: Any, engine: Engine, signing_key: SigningKey) -> None:
    found = {row["system"]: row for row in rows(engine, signing_key, "systems")}
    hours = "epoch_us(CAST(ended AS TIMESTAMP) - CAST(opened AS TIMESTAMP)) / 3600000000.0"
    for system, steps, open_, retained, remains, median, mean in sql.execute(
        "SELECT system, count(*), count(*) FILTER (outcome IS NULL), count(*) FILTER (outcome = 'retained'),"
        f" sum(remains), median({hours}) , avg({hours}) FROM s GROUP BY 1"
    ).fetchall():
        row = found.pop(system)
        assert (row["steps"], row["open"], row["retained"], row["records_left"]) == (steps, open_, retained, remains)
        assert (row["median_hours"], row["connector"]) == (f"{median:.2f}", f"kind-{system}")
        assert abs(float(row["mean_hours"]) - mean) <= 0.00501
    assert found == {}


def test_recipients_and_lateness_are_the_logs(sql: Any, engine: Engine, signing_key: SigningKey) -> None:
    told = sql.execute(
        "SELECT s.request, s.system, (SELECT min(a.told) FROM e a WHERE a.id = s.id AND a.event LIKE 'step_%'"
        " AND a.data->>'answer' IN ('erased', 'already_absent', 'retained', 'suppressed')), s.outcome FROM s"
    ).fetchall()
    found = rows(engine, signing_key, "recipients")
    assert sorted((r["request_id"], r["system"], str(r["told_at"]), r["result"]) for r in found) == sorted(
        (request, system, str(at), outcome or "due") for request, system, at, outcome in told
    )
    extended = sql.execute("SELECT id FROM e WHERE event = 'request_extended'").fetchall()
    late = rows(engine, signing_key, "lateness")
    assert {row["request_id"] for row in late if row["extended_on"]} == {row[0] for row in extended}
    missed = sql.execute(
        "SELECT s.id FROM e s JOIN e a ON a.id = s.id AND a.event IN ('request_fulfilled', 'request_denied',"
        " 'request_revoked') LEFT JOIN e x ON x.id = s.id AND x.event = 'request_extended'"
        " WHERE s.event = 'request_submitted'"
        " AND local_day(a.told) > local_day(coalesce(x.data->>'respond_by', s.data->>'respond_by'))"
    ).fetchall()
    assert missed
    assert {row["request_id"] for row in late if row["days_late"]} == {row[0] for row in missed}


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("form", ["json", "csv", "html"])
def test_a_report_of_a_signed_size_stays_what_it_is(
    name: str, form: str, engine: Engine, signing_key: SigningKey
) -> None:
    story = random_story(3, requests=12)
    story.log(engine)
    first = computed(engine, signing_key, name, form)
    story.request("later", DAY + timedelta(days=2))
    story.step("later", "crm", DAY + timedelta(days=3), ended("absent"))
    story.about("later", "request_fulfilled", DAY + timedelta(days=99))
    story.log(engine)
    size = first.log.checkpoint.size
    assert computed(engine, signing_key, name, form, size=size).content == first.content
    assert computed(engine, signing_key, name, form).content != first.content
    with pytest.raises(NotFound):
        computed(engine, signing_key, name, form, size=size + 1)


def test_no_report_is_made_of_bytes_that_were_not_signed(engine: Engine, signing_key: SigningKey, tamper: Any) -> None:
    story = random_story(4, requests=8)
    story.log(engine)
    size = computed(engine, signing_key, "metrics").log.checkpoint.size
    tamper(
        "UPDATE audit_leaves SET entry = decode(replace(encode(entry, 'escape'),"
        " 'request_fulfilled', 'request_expired'), 'escape')"
    )
    with pytest.raises(AuditLogBroken):
        computed(engine, signing_key, "metrics", size=size)
