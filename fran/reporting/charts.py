"""Charts as SVG inside a page: they take its colours, light and dark, and print at any size.

A chart is drawn for the width of a phone and laid out beside others where there is room. What a line is, is told by its
dashes as well as by its colour; what the chart shows is said in words for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from fran.reporting.page import Markup, number

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 400, 52, 12, 10, 36
#: Colours and dashes that tell lines apart; more lines are drawn alike, and without names.
STYLES = 8
#: From this ratio of largest to smallest on, a histogram counts powers of ten.
WIDE = 30.0


@dataclass(frozen=True)
class Series:
    """A line: its name, and (x, y) in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart of a page.

    Attributes:
        title: above it.
        svg: the picture.
        names: of its lines, with the number of each one's style; empty where nothing has to be told apart.
    """

    title: str
    svg: Markup
    names: Sequence[tuple[int, str]] = ()


def line_chart(
    title: str, series: Sequence[Series], x: str, bounds: tuple[float, float] | None = None, marks: bool = False
) -> Chart:
    """Lines over a common x; points that are not finite are left out.

    Args:
        title: of the chart.
        series: lines; those without any point are not named.
        x: what the horizontal axis is.
        bounds: of the vertical axis; by default those of the values.
        marks: whether each point is a dot.
    """
    known = [Series(s.name, [(a, b) for a, b in s.points if math.isfinite(b)]) for s in series]
    known = [s for s in known if s.points]
    ys = [b for s in known for _, b in s.points]
    xs = [a for s in known for a, _ in s.points]
    height = 220
    plot = _Plot(height, _span(xs), bounds or _span(ys))
    parts = [plot.grid(x, whole_x=True)]
    for place, one in enumerate(known):
        style = f"s{place % STYLES}"
        corners = " ".join(f"{plot.x(a):.1f},{plot.y(b):.1f}" for a, b in one.points)
        parts.append(f'<polyline class="line {style}" points="{corners}"/>')
        if marks or len(one.points) == 1:
            dots = "".join(f'<circle cx="{plot.x(a):.1f}" cy="{plot.y(b):.1f}" r="2.6"/>' for a, b in one.points)
            parts.append(f'<g class="dot {style}">{dots}</g>')
    said = "; ".join(_said(s) for s in known[:STYLES]) or "no values"
    names = [(place, s.name) for place, s in enumerate(known)] if 1 < len(known) <= STYLES else []
    return Chart(title, _svg(height, f"{title}: {said}", parts), names)


def histogram(title: str, values: Sequence[float], unit: str, bins: int = 12) -> Chart:
    """How many values lie where; over powers of ten where they span more than `WIDE` and are all positive."""
    known = np.array([v for v in values if math.isfinite(v)], dtype=np.float64)
    height = 150
    if not known.size:
        return Chart(title, _svg(height, f"{title}: no values", ['<text x="52" y="60">no values</text>']))
    wide = bool(known.min() > 0 and known.max() > WIDE * known.min())
    shown = np.log10(known) if wide else known
    counts, edges = np.histogram(shown, bins=min(bins, max(1, len(np.unique(shown)))))
    plot = _Plot(height, (float(edges[0]), float(edges[-1])), (0.0, float(counts.max())))
    parts = [plot.grid(unit, whole_y=True, powers=wide)]
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            left, right, top = plot.x(float(low)), plot.x(float(high)), plot.y(float(count))
            box = f'x="{left:.1f}" y="{top:.1f}" width="{max(1.0, right - left - 1):.1f}"'
            parts.append(f'<rect class="bar" {box} height="{plot.y(0) - top:.1f}"/>')
    least, middle, most = (figure(float(v)) for v in (known.min(), np.median(known), known.max()))
    said = f"{title}: {len(known)} values from {least} to {most} {unit}, median {middle}"
    return Chart(title, _svg(height, said, parts))


def box_plot(title: str, groups: Sequence[tuple[str, Sequence[float]]], unit: str) -> Chart:
    """A row a group: a box from first to third quartile, a line at the median, whiskers to the ends, a dot a value."""
    known = [(name, np.array([v for v in values if math.isfinite(v)], dtype=np.float64)) for name, values in groups]
    known = [(name, values) for name, values in known if values.size]
    row, height = 46, TOP + BOTTOM + 46 * max(1, len(known))
    every = [float(v) for _, values in known for v in values]
    plot = _Plot(height, _span(every), (0.0, 1.0))
    parts, said = [plot.grid(unit, rows=True)], []
    for place, (name, values) in enumerate(known):
        quartiles = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
        least, first, median, third, most = (plot.x(v) for v in quartiles)
        middle = TOP + row * place + 30
        box = f'<rect x="{first:.1f}" y="{middle - 8}" width="{max(1.0, third - first):.1f}" height="16"/>'
        whiskers = f'<path d="M{least:.1f} {middle}H{first:.1f}M{third:.1f} {middle}H{most:.1f}"/>'
        line = f'<path class="median" d="M{median:.1f} {middle - 8}V{middle + 8}"/>'
        dots = "".join(f'<circle cx="{plot.x(v):.1f}" cy="{middle}" r="2"/>' for v in sorted(values.tolist()))
        parts.append(f'<text x="{LEFT}" y="{middle - 14}">{escape(name)}</text>')
        parts.append(f'<g class="box s{place % STYLES}">{box}{whiskers}{line}{dots}</g>')
        said.append(f"{name}: median {figure(quartiles[2])}, {figure(quartiles[0])} to {figure(quartiles[4])}")
    return Chart(title, _svg(height, f"{title}: {'; '.join(said) or 'no values'}", parts))


def figure(value: float) -> str:
    """A number with three digits that count.

    Example:
        >>> figure(0.00123), figure(12.3456), figure(45678.0), figure(-2.0)
        ('0.00123', '12.3', '45,678', '−2')
    """
    if value and math.isfinite(value) and abs(value) < 1e-4:
        return f"{value:.2g}".replace("-", "−")
    if value == round(value):
        return number(value).shown
    return number(value, max(0, 2 - math.floor(math.log10(abs(value))))).shown


@dataclass(frozen=True)
class _Plot:
    """The rectangle inside a chart's axes."""

    height: int
    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.xs
        return LEFT + (value - low) / ((high - low) or 1.0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.ys
        return self.height - BOTTOM - (value - low) / ((high - low) or 1.0) * (self.height - TOP - BOTTOM)

    def grid(
        self, x: str, whole_x: bool = False, whole_y: bool = False, powers: bool = False, rows: bool = False
    ) -> str:
        """Lines at round numbers with their figures, and what the horizontal axis is."""
        right, floor = WIDTH - RIGHT, self.height - BOTTOM
        parts = []
        for value in [] if rows else _ticks(*self.ys, 4, whole_y):
            at = f"{self.y(value):.1f}"
            parts.append(f'<path d="M{LEFT} {at}H{right}"/><text x="{LEFT - 6}" y="{at}" dy=".35em" class="e">')
            parts.append(f"{_short(value)}</text>")
        for value in _ticks(*self.xs, 6, whole_x or powers):
            said = _short(10.0**value) if powers else _short(value)
            parts.append(f'<text x="{self.x(value):.1f}" y="{floor + 15}" class="m">{said}</text>')
        parts.append(f'<text x="{(LEFT + right) / 2:.0f}" y="{self.height - 5}" class="m">{escape(x)}</text>')
        return f'<g class="axes"><path class="floor" d="M{LEFT} {floor}H{right}"/>{"".join(parts)}</g>'


def _svg(height: int, said: str, parts: Sequence[str]) -> Markup:
    inside = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(said)}">{inside}</svg>'
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Least and largest, apart by something."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2)


def _ticks(low: float, high: float, about: int, whole: bool) -> list[float]:
    """Round numbers from `low` to `high`."""
    rough = (high - low) / about
    if not rough > 0 or not math.isfinite(rough):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    """The figure of a round number at an axis: as short as it can be."""
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}").replace("-", "−")


def _said(series: Series) -> str:
    values = [y for _, y in series.points]
    low, high, first, last = (figure(v) for v in (min(values), max(values), values[0], values[-1]))
    return f"{series.name} from {first} to {last}, lowest {low}, highest {high}"
