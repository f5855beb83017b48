"""Tables in a terminal of any width: numbers and words stay whole, names are broken where they have a seam.

What is no terminal gets a line a row, however long, for `grep` and `cut`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

NAMES = ("case", "name", "metric", "shown")
"""Columns of words; the others hold numbers."""
WIDTHS = (40, 32, 26, 22, 18, 16, 14, 12, 10, 8)
"""Columns that a name may take, the widest that fits."""


def parted(text: str, width: int) -> str:
    """`text` over several lines of at most `width`, broken behind spaces and ``_``; a longer part stays whole.

    Example:
        >>> parted("small_bowel_and_duodenum", 12)
        'small_bowel_\\nand_duodenum'
    """
    lines = [""]
    for part in filter(None, re.findall(r"[^ _]*[ _]?", text)):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a file or another program: a line a row, nothing drawn, wrapped or cut.

    Example:
        >>> print(plain_table(("case", "Dice"), [("kits_4", "0.525"), ("a", "0.9")]))
        case    Dice
        kits_4  0.525
        a       0.9
    """
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    plain = io.StringIO()
    Console(file=plain, width=10_000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in plain.getvalue().splitlines())


def fitting_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> Table | None:
    """The table with names as wide as the console allows; None where it has not the room for any.

    Args:
        title: above it.
        columns: headings; a cell may have several lines.
        rows: as many cells each as there are columns.
        console: where it will be shown.
    """
    for width in (10_000, *WIDTHS):
        made = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in columns:
            made.add_column(name, justify="left" if name in NAMES else "right", no_wrap=True)
        for row in rows:
            cells = zip(columns, row, strict=True)
            made.add_row(*(parted(cell, width) if name in NAMES else cell for name, cell in cells))
        if console.measure(made, options=console.options.update(width=10_000)).maximum <= console.width:
            return made
    return None
