"""Reports as JSON, CSV and page: the same figures, no script, no call."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from service.domain.audit.schema import instant_text
from service.domain.audit.signed_note import Checkpoint
from service.domain.reports.lateness import report_lateness
from service.domain.reports.metrics import report_metrics
from service.domain.reports.recipients import report_recipients
from service.domain.reports.rendering import FORMATS, Source, render
from service.domain.reports.report import (
    Question,
    Report,
    parse_period,
)
from service.domain.reports.request_log import report_requests
from service.domain.reports.systems import report_systems
from tests.integration.audit.story import Story, ended, name_of
from tests.unit.domain.reports.days import DAY, UTC_ZONE, asked, at

EVERY_REPORT = (report_requests, report_metrics, report_recipients, report_lateness, report_systems)


@pytest.fixture
def full(story: Story) -> Story:
    for number in range(4):
        story.request(f"r{number}", at(number * 40), regime="gdpr")
        story.step(f"r{number}", "support", at(number * 40 + 1), ended("erased_verified"))
        story.about(f"r{number}", "request_extended", at(number * 40 + 2), respond_by=instant_text(DAY), reason="x")
        story.about(f"r{number}", "request_fulfilled", at(number * 40 + 3))
    return story


def source(controller: str = "Analytical Engines") -> Source:
    period = parse_period("2026", UTC_ZONE)
    return Source(controller, Checkpoint("expunge.example/log", 7, b"r" * 32), period, None)


@pytest.mark.parametrize("make", EVERY_REPORT)
def test_json_csv_and_page_say_the_same(make: Callable[[Question], Report], full: Story) -> None:
    report = make(asked(full))
    assert report.rows
    assert all(set(r) == set(report.columns) for r in report.rows)
    written = {form: render(report, source(), form) for form in FORMATS}
    assert written == {form: render(make(asked(full)), source(), form) for form in FORMATS}
    document = json.loads(written["json"])
    assert document["rows"] == [dict(r) for r in report.rows]
    assert document["log"] == {"origin": "expunge.example/log", "size": 7, "root": document["log"]["root"]}
    table = list(csv.reader(io.StringIO(written["csv"].decode())))
    assert table[0] == list(report.columns)
    shown = [["" if cell is None else str(cell) for cell in r.values()] for r in document["rows"]]
    assert table[1:] == shown
    page = ElementTree.fromstring(written["html"].decode().partition("\n")[2].replace('<meta charset="utf-8">', ""))
    lines = [[cell.text or "" for cell in line] for line in page.iter("tr")]
    if report.headed_by:
        # One line per measure, one column per row: the other way round it is the same table.
        body = [list(column) for column in zip(*(line[1:] for line in lines[1:]), strict=True)]
        heads = [name in report.headed_by for name in report.columns]
        assert body == [[cell for cell, head in zip(row, heads, strict=True) if not head] for row in shown]
        assert lines[0][1:] == [" ".join(str(row[name]) for name in report.headed_by) for row in report.rows]
    else:
        assert lines[1:] == shown
    assert page.find(".//svg") is not None


def test_bars_are_as_long_as_their_numbers(full: Story) -> None:
    page = render(report_metrics(asked(full)), source(), "html").decode()
    bars = page[page.index("<svg role") :]
    first = bars[: bars.index("</svg>")]
    widths = re.findall(r'<rect [^>]*width="(\d+)"', first)
    assert widths == ["420", "420", "0", "0", "0"]


def test_a_page_runs_no_script_and_makes_no_call(full: Story) -> None:
    page = render(report_requests(asked(full)), source("<script>alert(1)</script>&"), "html").decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"https?:|src=|href=|@import|url\(", page)


def test_a_report_of_nothing_can_be_written(story: Story) -> None:
    for make in EVERY_REPORT:
        report = make(asked(story))
        assert report.rows == []
        for form in FORMATS:
            assert render(report, source(), form)


def test_a_reappearance_is_not_counted_as_a_request(story: Story) -> None:
    story.request("asked", at(0))
    story.about("asked", "request_fulfilled", at(5))
    story.request("seen", at(9))
    story.about("seen", "person_reappeared", at(9), origin=name_of("asked"), system="support", records=1)
    years = {r["kind"]: r["received"] for r in report_metrics(asked(story)).rows}
    assert years == {"erasure": 1, "all": 1}
    manners = {r["request_id"]: r["manner"] for r in report_requests(asked(story)).rows}
    assert manners == {name_of("asked"): "api", name_of("seen"): "reappearance"}
