"""Draw counts over months as an SVG line chart, for a page without scripts and network access.

Lines differ by colour and by dashes, so that a page printed in grey is readable. The same numbers give the same bytes,
because every coordinate is a whole number.
"""

from __future__ import annotations

from html import escape

from service.domain.reports.report import MonthSeries

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 250, 46, 34, 34, 30
_MOST_LABELS = 13
_MOST_STEPS = 5
_STYLES = (("#1f4e79", "none"), ("#2e7d32", "7 3"), ("#b23b3b", "2 3"), ("#7a5c00", "9 3 2 3"))


def line_chart(series: MonthSeries) -> str:
    """Return a heading and the SVG."""
    step = _step(max(max(values) for values in series.lines.values()))
    top = step * max(-(-max(max(values) for values in series.lines.values()) // step), 1)
    title = escape(series.title)
    parts = [
        f"<h2>{title}</h2>",
        f'<svg class="lines" role="img" aria-label="{title}" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        *_grid(top, step),
        *_months(series.months),
    ]
    for place, (name, values) in enumerate(series.lines.items()):
        parts += _line(place, name, values, top)
    return "\n".join([*parts, "</svg>"])


def _step(most: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, ... that needs at most `_MOST_STEPS` steps for `most`."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if factor * size * _MOST_STEPS >= most:
                return factor * size
        size *= 10


def _x(place: int, count: int) -> int:
    inner = _WIDTH - _LEFT - _RIGHT
    return _LEFT + (inner // 2 if count == 1 else place * inner // (count - 1))


def _y(value: int, top: int) -> int:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM) // top


def _grid(top: int, step: int) -> list[str]:
    lines = []
    for value in range(0, top + 1, step):
        y = _y(value, top)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value}</text>')
    return lines


def _months(months: tuple[str, ...]) -> list[str]:
    every = -(-len(months) // _MOST_LABELS)
    return [
        f'<text x="{_x(place, len(months))}" y="{_HEIGHT - 10}" text-anchor="middle">{month}</text>'
        for place, month in enumerate(months)
        if place % every == 0
    ]


def _line(place: int, name: str, values: tuple[int, ...], top: int) -> list[str]:
    colour, dashes = _STYLES[place % len(_STYLES)]
    points = [(_x(each, len(values)), _y(value, top)) for each, value in enumerate(values)]
    stroke = f'stroke="{colour}" stroke-dasharray="{dashes}"'
    legend = _LEFT + place * 200
    path = " ".join(f"{x},{y}" for x, y in points)
    return [
        f'<line x1="{legend}" x2="{legend + 28}" y1="14" y2="14" stroke-width="2" {stroke}/>',
        f'<text x="{legend + 34}" y="18">{escape(name)}</text>',
        f'<polyline points="{path}" fill="none" stroke-width="2" {stroke}/>',
        *(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points),
    ]
