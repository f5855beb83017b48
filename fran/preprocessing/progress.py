"""A progress bar with rate and remaining time for ``run_stage``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from fran.preprocessing.run import ProgressCallback


class RateColumn(ProgressColumn):
    """Cases in a second, or seconds a case when they are slow."""

    def render(self, task: Task) -> Text:
        """Text of the column."""
        if not task.speed:
            return Text("- cases/s")
        return Text(f"{task.speed:.1f} cases/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s/case")


@contextmanager
def progress_bar(description: str, console: Console | None = None) -> Iterator[ProgressCallback]:
    """Show a bar on stderr while the block runs.

    Args:
        description: text before the bar.
        console: where to draw, stderr by default.

    Yields:
        the callback that ``run_stage`` takes as ``progress``.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[case_id]}"),
    )
    with Progress(*columns, console=console or Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None, case_id="")

        def update(finished: int, total: int, case_id: str) -> None:
            if case_id:
                bar.update(task, completed=finished, total=total, case_id=case_id)
            else:  # cases settled before the start must not count into the rate
                bar.reset(task, completed=finished, total=total, description=description)

        yield update
