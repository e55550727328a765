"""The formats of a report: JSON for programs, CSV for spreadsheets, an HTML page for people.

Decides the presentation only. The same report gives the same bytes; the page makes no network call and runs no script.
JSON and HTML name the signed size of the log from which the report was computed, so that an auditor can repeat the
computation.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape

from service.domain.audit.signed_note import Checkpoint
from service.domain.reports.csv_text import csv_line
from service.domain.reports.line_chart import line_chart
from service.domain.reports.report import Chart, Period, Report

FORMATS = ("json", "csv", "html")
_BAR, _LABEL, _VALUE, _HEIGHT = 420, 260, 90, 22
_STYLE = (
    "body{font:14px/1.5 sans-serif;margin:2rem;color:#222}table{border-collapse:collapse;margin:1rem 0}"
    "th,td{border:1px solid #bbb;padding:.25rem .5rem;text-align:left;vertical-align:top}th{background:#eee}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem}dt{font-weight:bold}dd{margin:0}"
    ".hash{font-family:monospace;overflow-wrap:anywhere}"
    "svg{display:block;max-width:100%;height:auto}svg text{font:12px sans-serif}svg rect{fill:#36648b}"
    "svg.lines{width:720px}svg .grid{stroke:#ddd}td.number,th.number{text-align:right}th,td{overflow-wrap:break-word}"
    "h2{font-size:1.1rem;margin:1.2rem 0 .4rem}"
    "@page{size:A4;margin:14mm}@page wide{size:A4 landscape;margin:10mm}body.wide{page:wide}"
    "@media print{body{margin:0;font-size:9pt;line-height:1.35}h1{font-size:14pt;margin:0 0 .5rem}"
    "h2{font-size:10.5pt;break-after:avoid}table{width:100%;margin:.5rem 0}"
    "th,td{padding:0 .3rem}p{margin:.2rem 0}body.wide table{font-size:6.5pt}dl{margin:.3rem 0}"
    "svg{width:115mm!important}thead{display:table-header-group}tr,svg{break-inside:avoid}}"
)


@dataclass(frozen=True)
class Source:
    """The origin of a report's numbers: controller, checkpoint of the log, period and law."""

    controller: str
    checkpoint: Checkpoint
    period: Period
    regime: str | None


def render(report: Report, source: Source, form: str) -> bytes:
    """Return the report in one of `FORMATS`."""
    return {"json": _as_json, "csv": _as_csv, "html": _as_html}[form](report, source)


def _as_json(report: Report, source: Source) -> bytes:
    period = source.period
    document = {
        "report": report.name,
        "title": report.title,
        "basis": report.basis,
        "controller": source.controller,
        "period": {
            "first_day": period.first_day.isoformat(),
            "last_day": period.last_day.isoformat(),
            "time_zone": period.zone.key,
        },
        "regime": source.regime,
        "log": {
            "origin": source.checkpoint.origin,
            "size": source.checkpoint.size,
            "root": base64.b64encode(source.checkpoint.root).decode(),
        },
        "columns": dict(report.columns),
        "rows": [{name: row[name] for name in report.columns} for row in report.rows],
        "notes": list(report.notes),
    }
    return json.dumps(document, ensure_ascii=False, indent=2).encode("utf-8") + b"\n"


def _as_csv(report: Report, source: Source) -> bytes:
    """Return the rows only, under the names that JSON uses."""
    rows = (csv_line(row[name] for name in report.columns) for row in report.rows)
    return b"".join((csv_line(report.columns), *rows))


def _as_html(report: Report, source: Source) -> bytes:
    layout = "" if report.headed_by else ' class="wide"'
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body{layout}>",
        f"<h1>{escape(report.title)}</h1>",
        _about(report, source),
        *(line_chart(series) for series in report.series),
        *(_chart(chart) for chart in report.charts if chart.bars),
        _turned_table(report) if report.headed_by and report.rows else _table(report),
        *(f"<p>{escape(note)}</p>" for note in report.notes),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts).encode("utf-8")


def _about(report: Report, source: Source) -> str:
    period, checkpoint = source.period, source.checkpoint
    facts = {
        "Controller": escape(source.controller),
        "Asked for by": escape(report.basis),
        "Requests received": f"{period.first_day} to {period.last_day} ({escape(period.zone.key)})",
        "Law": escape(source.regime or "all"),
        "Computed from": f"the audit log {escape(checkpoint.origin)}, its first {checkpoint.size} entries, root "
        f'<span class="hash">{base64.b64encode(checkpoint.root).decode()}</span>',
    }
    return "<dl>\n" + "".join(f"<dt>{name}</dt><dd>{value}</dd>\n" for name, value in facts.items()) + "</dl>"


def _chart(chart: Chart) -> str:
    longest = max(bar.length for bar in chart.bars) or Fraction(1)
    height, whole = _HEIGHT * len(chart.bars), _LABEL + _BAR + _VALUE
    title = escape(chart.title)
    lines = [
        f"<h2>{title}</h2>",
        f'<svg role="img" aria-label="{title}" width="{whole}" viewBox="0 0 {whole} {height}">',
    ]
    for place, bar in enumerate(chart.bars):
        top, width = place * _HEIGHT, round(bar.length / longest * _BAR)
        lines += [
            f'<text x="{_LABEL - 8}" y="{top + 15}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{_LABEL}" y="{top + 3}" width="{width}" height="{_HEIGHT - 6}"/>',
            f'<text x="{_LABEL + width + 6}" y="{top + 15}">{escape(bar.written)}</text>',
        ]
    return "\n".join([*lines, "</svg>"])


def _table(report: Report) -> str:
    head = "".join(f"<th>{escape(meaning)}</th>" for meaning in report.columns.values())
    rows = (_row([row[name] for name in report.columns]) for row in report.rows)
    return "\n".join(["<table>", f"<thead><tr>{head}</tr></thead>", *rows, "</table>"])


def _turned_table(report: Report) -> str:
    """Return a table with one line per column of the report and one column per row."""
    heads = [" ".join(str(row[name]) for name in report.headed_by) for row in report.rows]
    lines = ["<table>", "<thead><tr><th></th>" + "".join(f'<th class="number">{escape(h)}</th>' for h in heads)]
    lines[-1] += "</tr></thead>"
    for name, meaning in report.columns.items():
        if name not in report.headed_by:
            cells = ("" if row[name] is None else escape(str(row[name])) for row in report.rows)
            line = "".join(f'<td class="number">{cell}</td>' for cell in cells)
            lines.append(f"<tr><th>{escape(meaning)}</th>{line}</tr>")
    return "\n".join([*lines, "</table>"])


def _row(cells: Sequence[object]) -> str:
    return "<tr>" + "".join(f"<td>{'' if cell is None else escape(str(cell))}</td>" for cell in cells) + "</tr>"
