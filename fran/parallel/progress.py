"""Progress bars over cases: how many, how fast, how long still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")


class RateColumn(ProgressColumn):
    """Cases in a second, or seconds a case when they are slow."""

    def render(self, task: Task) -> Text:
        """Text of the column."""
        if not task.speed:
            return Text("- cases/s")
        return Text(f"{task.speed:.1f} cases/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s/case")


def columns() -> tuple[ProgressColumn, ...]:
    """Description, bar, count, rate, time left."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )


def shown(items: Iterable[Item], total: int, description: str, visible: bool) -> Iterator[Item]:
    """The items, with a bar on stderr while they come; none where there is nothing to do."""
    if not (visible and total):
        yield from items
        return
    with Progress(*columns(), console=Console(stderr=True)) as bar:
        yield from bar.track(items, total=total, description=description)
