"""A progress bar with rate and remaining time for ``run_stage``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TextColumn

from fran.parallel.progress import columns
from fran.preprocessing.run import ProgressCallback


@contextmanager
def progress_bar(description: str, console: Console | None = None) -> Iterator[ProgressCallback]:
    """Show a bar on stderr while the block runs.

    Args:
        description: text before the bar.
        console: where to draw, stderr by default.

    Yields:
        the callback that ``run_stage`` takes as ``progress``.
    """
    with Progress(*columns(), TextColumn("{task.fields[case_id]}"), console=console or Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None, case_id="")

        def update(finished: int, total: int, case_id: str) -> None:
            if case_id:
                bar.update(task, completed=finished, total=total, case_id=case_id)
            else:  # cases settled before the start must not count into the rate
                bar.reset(task, completed=finished, total=total, description=description)

        yield update
