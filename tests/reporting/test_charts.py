"""Charts as SVG: where their points lie, what they say in words, and what odd values do to them."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from fran.reporting.charts import Series, box_plot, figure, histogram, line_chart


def test_points_lie_between_the_axes_in_order() -> None:
    chart = line_chart("Dice", [Series("kidney", [(0, 0.0), (5, 0.5), (10, 1.0)])], "epoch", bounds=(0.0, 1.0))
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', chart.svg).group(1).split()]
    assert points == [(52, 184), (220, 97), (388, 10)]
    assert 'aria-label="Dice: kidney from 0 to 1, lowest 0, highest 1"' in chart.svg
    assert chart.names == [], "one line needs no name"


def test_what_is_not_finite_is_left_out_and_names_follow() -> None:
    lines = [
        Series("a", [(0, math.nan), (1, math.inf)]),
        Series("<b>", [(0, 1.0), (1, math.nan)]),
        Series("c", [(1, 2)]),
    ]
    chart = line_chart("T", lines, "epoch")
    assert chart.names == [(0, "<b>"), (1, "c")]
    assert "nan" not in chart.svg and "inf" not in chart.svg and "<b>" not in chart.svg
    ElementTree.fromstring(chart.svg)


def test_many_lines_are_not_named() -> None:
    assert line_chart("T", [Series(str(i), [(0, i)]) for i in range(9)], "epoch").names == []


@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [0.0, 0.0], [-5.0, 1e9], [1e-12, 2e-12]])
def test_any_values_make_a_drawing(values: list[float]) -> None:
    for chart in (histogram("H", values, "mm"), line_chart("L", [Series("l", list(enumerate(values)))], "epoch")):
        ElementTree.fromstring(chart.svg)
        assert "nan" not in chart.svg.replace("names", "")


def test_bars_hold_every_value_and_wide_ranges_count_powers_of_ten() -> None:
    chart = histogram("Volume", [1, 10, 100, 1000, 1000], "ml", bins=3)
    heights = [float(h) for h in re.findall(r'class="bar"[^>]* height="([\d.]+)"', chart.svg)]
    assert [round(h / min(heights)) for h in heights] == [1, 1, 3]
    assert ">1,000<" in chart.svg and "median 100" in chart.svg
    assert ">995<" in histogram("Volume", [990, 995, 1010], "ml", bins=3).svg, "a narrow range is linear"


def test_figures_keep_three_digits() -> None:
    assert [figure(v) for v in (0.0, 0.5, 1234.5, 3e-7, -0.25)] == ["0", "0.500", "1,234", "3e−07", "−0.250"]


def test_boxes_say_their_quartiles_and_leave_empty_groups_out() -> None:
    chart = box_plot("Dice", [("new <1>", [0.0, 0.5, 1.0, math.nan]), ("none", [math.nan])], "Dice")
    ElementTree.fromstring(chart.svg)
    assert "new &lt;1&gt;: median 0.500, 0 to 1" in chart.svg and "none" not in chart.svg
    assert re.search(r'<rect x="136.0" y="32" width="168.0" height="16"/>', chart.svg)
    ElementTree.fromstring(box_plot("Dice", [], "Dice").svg)
