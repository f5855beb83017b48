"""How stages, sizes, times and paths are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fran.workflows.locations import conf_dir
from fran.workflows.plan_status import StageState
from fran.workflows.terminal import say

STAGE_COLUMNS = ("stage", "of plan", "reads", "key", "cases there", "to make", "disk", "time")


def say_folders(states: Sequence[StageState]) -> None:
    """Folders of the stages, and what is left to do in all."""
    for state in states:
        if state.folder is not None:
            say(f"{state.mode}: {short_path(state.folder)}")
    todo = [state for state in states if state.todo]
    if todo:
        size = size_text(sum(state.todo_bytes for state in todo))
        seconds = time_text(sum(state.todo_seconds for state in todo))
        say(f"to make: {sum(len(state.todo) for state in todo)} case files, about {size} and {seconds}")


def stage_row(state: StageState) -> list[str]:
    """Cells of `STAGE_COLUMNS`."""
    said = {name: value for name, value in state.params.items() if value not in (None, {}, [], "")}
    reads = ", ".join(f"{name} {_short(value)}" for name, value in said.items())
    total = state.n_cases
    if state.note:
        return [state.mode, state.plan.plan_name, state.note, "", "", "", "", ""]
    if state.folder is None:
        return [state.mode, state.plan.plan_name, reads, state.key[:8], "", "", "", ""]
    cost = [size_text(state.todo_bytes), time_text(state.todo_seconds)] if state.todo else ["", ""]
    there = f"{len(state.ready)} of {total}" + (f", {len(state.linkable)} to link" if state.linkable else "")
    cells = [there, str(len(state.todo)), *cost]
    return [state.mode, state.plan.plan_name, reads, state.key[:8], *cells]


def stage_json(state: StageState) -> dict[str, Any]:
    """A stage as plain data."""
    return {
        "stage": state.mode,
        "plan": state.plan.plan_name,
        "params": state.params,
        "key": state.key,
        "folder": state.folder,
        "ready": len(state.ready),
        "linkable": len(state.linkable),
        "todo": list(state.todo),
        "todo_bytes": state.todo_bytes,
        "todo_seconds": round(state.todo_seconds, 1),
        "note": state.note,
    }


def _short(value: Any) -> str:
    """A parameter in a few letters; of a long mapping its keys, for all of it is in the JSON."""
    if isinstance(value, list):
        return "x".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 40 or not isinstance(value, dict) else f"({', '.join(map(str, value))})"


def size_text(size: float) -> str:
    """Bytes with a unit.

    Example:
        >>> size_text(950), size_text(3_400_000), size_text(12_000_000_000)
        ('950 B', '3.4 MB', '12 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if size < 10 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def time_text(seconds: float) -> str:
    """A duration, rounded up.

    Example:
        >>> time_text(0.2), time_text(75), time_text(7300)
        ('1 s', '2 min', '2 h 2 min')
    """
    if seconds <= 60:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short_path(path: Path) -> str:
    """The path; with ~ for the home folder, and a shipped configuration file from ``conf`` on."""
    shipped = conf_dir()
    if path.is_relative_to(shipped):
        return f"conf/{path.relative_to(shipped)}"
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
