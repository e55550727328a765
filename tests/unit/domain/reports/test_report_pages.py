"""Reports as pages: a series over months, and a table that fits the paper."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest

from service.domain.audit.signed_note import Checkpoint
from service.domain.reports.cases import Case, Register
from service.domain.reports.line_chart import line_chart
from service.domain.reports.metrics import report_metrics
from service.domain.reports.rendering import Source, render
from service.domain.reports.report import MonthSeries, Question, Report, months_between, parse_period

PERIOD = parse_period("2026", ZoneInfo("Europe/Berlin"))
SOURCE = Source("Tea and Kettles", Checkpoint("expunge.example/log", 7, b"r" * 32), PERIOD, None)


def metrics_of(*received: tuple[datetime, str | None]) -> Report:
    register = Register()
    for number, (at, answer) in enumerate(received):
        case = Case(str(number), "erasure", "gdpr", at, "api", at, 1, at)
        case.answer, case.answered_at = answer, at + timedelta(days=2) if answer else None
        case.denial_reason = "no_match" if answer == "denied" else None
        register.cases[case.request_id] = case
    return report_metrics(Question(register, PERIOD))


def test_requests_are_counted_by_the_month_of_receipt() -> None:
    # 23:30 UTC on 31 January is February in Berlin.
    report = metrics_of(
        (datetime(2026, 1, 31, 23, 30, tzinfo=UTC), "fulfilled"),
        (datetime(2026, 2, 5, tzinfo=UTC), "denied"),
        (datetime(2026, 4, 5, tzinfo=UTC), None),
    )
    (series,) = report.series
    assert series.months == ("2026-02", "2026-03", "2026-04")
    assert series.lines == {"received": (2, 0, 1), "complied with": (1, 0, 0), "denied": (1, 0, 0)}
    assert metrics_of().series == []


def test_the_metrics_fit_a_page_and_show_every_measure() -> None:
    report = metrics_of((datetime(2026, 2, 5, tzinfo=UTC), "fulfilled"), (datetime(2026, 3, 5, tzinfo=UTC), "denied"))
    page = render(report, SOURCE, "html").decode()
    table = page[page.index("<table>") : page.index("</table>")]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    assert rows[0] == ["", "2026 erasure", "2026 all"]
    assert {len(row) for row in rows} == {3}
    assert [row[0] for row in rows[1:]] == [
        meaning for name, meaning in report.columns.items() if name not in ("year", "kind")
    ]
    assert ["received", "2", "2"] in rows
    assert page.count("<polyline") == 3
    assert "<script" not in page


@pytest.mark.parametrize("counts", [(0,), (0, 0), (1,), (3, 0, 12), tuple(range(90)), (10**9, 0)])
def test_a_line_stays_inside_its_picture(counts: tuple[int, ...]) -> None:
    months = months_between(date(2026, 1, 1), date(2026, 1, 1) + timedelta(days=31 * (len(counts) - 1)))[: len(counts)]
    drawn = line_chart(MonthSeries("A & B", months, {"a": counts}))
    picture = ElementTree.fromstring(drawn[drawn.index("<svg") :])
    _, _, width, height = map(int, picture.attrib["viewBox"].split())
    dots = [(int(dot.attrib["cx"]), int(dot.attrib["cy"])) for dot in picture.iter("circle")]
    assert len(dots) == len(counts)
    assert all(0 <= x <= width and 0 <= y <= height for x, y in dots)
    assert [x for x, _ in dots] == sorted(x for x, _ in dots)
    highest = min(range(len(counts)), key=lambda place: dots[place][1])
    assert counts[highest] == max(counts)
    labels = [text for text in picture.iter("text") if text.attrib.get("text-anchor") == "middle"]
    assert 1 <= len(labels) <= 13
