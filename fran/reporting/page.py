"""Reports as single HTML files: no network, no server, light and dark, tables that sort.

A report is a template in ``templates/`` that extends ``page.html`` and fills its blocks; style and script become
part of the page. What a template shows is escaped, unless it was made by fran and is wrapped in `Markup`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fran import __version__
from fran.io.files import atomic_path

__all__ = ["Cell", "Markup", "Table", "number", "render", "text", "write_page"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        shown: what is read.
        sort: what is sorted by: a number or text; None goes last in both directions.
        note: below it, in small.
        number: whether it is aligned as one.
        link: address that it leads to, if any: a file beside the page.
    """

    shown: str
    sort: float | str | None = None
    note: str = ""
    number: bool = False
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        caption: what it shows.
        header: of the columns.
        rows: of cells; the first one names the row.
        filter: position of the column that a choice above the table narrows down to one value, if any.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    filter: int | None = None

    def choices(self) -> list[str]:
        """Values of the column that is filtered by, in order of first appearance."""
        return [] if self.filter is None else list(dict.fromkeys(row[self.filter].shown for row in self.rows))


def text(value: object, note: str = "") -> Cell:
    """A cell of words."""
    return Cell(str(value), str(value), note)


def number(value: float | None, digits: int = 0, note: str = "") -> Cell:
    """A cell of a number; a dash for what is not there or not defined."""
    if value is None or math.isnan(value):
        return Cell("–", None, note, number=True)
    if math.isinf(value):
        return Cell("∞" if value > 0 else "−∞", 1e300 if value > 0 else -1e300, note, number=True)
    return Cell(f"{value:,.{digits}f}".replace("-", "−"), float(value), note, number=True)


def render(template: str, **values: Any) -> str:
    """A page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = {name: Markup((_TEMPLATES / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return environment.get_template(template).render(**values, **parts, version=__version__)


def write_page(path: Path | str, template: str, **values: Any) -> Path:
    """Write a page; equal values give equal bytes."""
    path = Path(path)
    page = render(template, **values)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
