"""Progress: how many, how fast, how long still. A bar on a terminal, plain lines elsewhere, nothing with FRAN_QUIET."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from fran.parallel.quiet import quiet

Item = TypeVar("Item")

_FIRST_S, _LONGEST_S = 2.0, 60.0


class Update(Protocol):
    """Takes what is done of how much, and what is at work."""

    def __call__(self, done: float, total: float, note: str = "", /) -> None:
        """Show it. What is done at the first call does not count into the rate."""


class RateColumn(ProgressColumn):
    """Units in a second, or seconds a unit when they are slow."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        super().__init__()

    def render(self, task: Task) -> Text:
        """Text of the column."""
        return Text(rate_text(task.speed or 0.0, self.unit))


@contextmanager
def progress(description: str, unit: str = "case", console: Console | None = None) -> Iterator[Update]:
    """Show on stderr how work goes.

    Args:
        description: of the work.
        unit: what is counted, in the singular.
        console: instead of stderr.
    """
    console = console or Console(stderr=True)
    if quiet():
        yield _nothing
    elif console.is_terminal and not console.is_dumb_terminal:
        with _bar(description, unit, console) as update:
            yield update
    else:
        yield _Lines(description, unit)


def _nothing(done: float, total: float, note: str = "", /) -> None:
    """With --quiet."""


@contextmanager
def _bar(description: str, unit: str, console: Console) -> Iterator[Update]:
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), RateColumn(unit))
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console) as bar:
        task = bar.add_task(description, total=None, note="", start=False)

        def update(done: float, total: float, note: str = "", /) -> None:
            if not bar.tasks[task].started:
                bar.reset(task, completed=int(done))
            bar.update(task, completed=done, total=total, note=note)

        yield update


class _Lines:
    """A line after two seconds, then ever more rarely, down to one a minute; the last when all is done."""

    def __init__(self, description: str, unit: str) -> None:
        self._description, self._unit = description, unit
        self._begun = self._said = time.monotonic()
        self._pause, self._former = _FIRST_S, -1.0

    def __call__(self, done: float, total: float, note: str = "", /) -> None:
        """As what `progress` yields."""
        now = time.monotonic()
        if self._former < 0:
            self._former, self._begun = done, now
        over = done >= total and now - self._begun >= _FIRST_S
        if not over and now - self._said < self._pause:
            return
        self._said, self._pause = now, min(2 * self._pause, _LONGEST_S)
        seconds = now - self._begun
        speed = (done - self._former) / seconds if seconds > 0 else 0.0
        left = f"{_clock((total - done) / speed)} left" if speed else ""
        end = f"in {_clock(seconds)}" if over else left
        finished = total if over else int(done)
        parts = (
            f"{finished:.0f} of {total:.0f} {_plural(self._unit)}",
            rate_text(speed, self._unit) if speed else "",
            end,
        )
        sys.stderr.write(f"{self._description}: {', '.join(part for part in parts if part)}\n")
        sys.stderr.flush()


def shown(items: Iterable[Item], total: int, description: str, visible: bool, unit: str = "case") -> Iterator[Item]:
    """The items, with their progress on stderr while they come; none where there is nothing to do."""
    if not (visible and total):
        yield from items
        return
    with progress(description, unit) as update:
        update(0, total)
        for done, item in enumerate(items, start=1):
            yield item
            update(done, total)


def rate_text(per_second: float, unit: str) -> str:
    """How fast.

    Example:
        >>> rate_text(3.14, "case"), rate_text(0.25, "case"), rate_text(0.0, "case")
        ('3.1 cases/s', '4.0 s/case', '- cases/s')
    """
    if not per_second:
        return f"- {_plural(unit)}/s"
    return f"{per_second:.1f} {_plural(unit)}/s" if per_second >= 1 else f"{1 / per_second:.1f} s/{unit}"


def _plural(unit: str) -> str:
    return unit if unit.isupper() else f"{unit}s"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
