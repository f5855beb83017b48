"""What a search for rules of post-processing tried, as CSV and as rows of a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from fran.evaluation.postprocess_search import Trial
from fran.io.files import atomic_path, write_json
from fran.projects.mask_labels import HARMLESS, LabelRule

_RULE = ("dusting_threshold_mm3", "k_largest", "fill_holes")
_NUMBERS = ("before", "after", "gain", "low", "high", "helped", "harmed", "held_out", "held_low", "held_high")
COLUMNS = ("label", "name", *_RULE, "cases", *_NUMBERS, "kept", "why")


def write_trials(trials: Sequence[Trial], rules: dict[int, LabelRule], folder: Path) -> tuple[Path, Path]:
    """Write trials.csv, a row for each rule that was tried, and rules.json, those that are kept."""
    table, kept = folder / "trials.csv", folder / "rules.json"
    with atomic_path(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for trial in trials:
            rule = [getattr(trial.rule, key) for key in _RULE]
            numbers = [_plain(getattr(trial, key)) for key in _NUMBERS]
            writer.writerow([trial.label, trial.name, *rule, trial.n, *numbers, trial.kept, trial.why])
    write_json(kept, {str(value): {**HARMLESS, **rule.to_dict()} for value, rule in sorted(rules.items())})
    return table, kept


def rows_of(trials: Iterable[Trial]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows for a terminal: each label's best removal, or the gentlest where none helps, and its filling.

    What is kept comes first, then the largest held-out gain; what was not even the best on its own cases comes last.
    """
    columns = ("label", "rule", "cases", "Dice", "helped, harmed", "gain", "held-out gain", "verdict")
    shown: dict[tuple[int, bool], Trial] = {}
    for trial in trials:
        key = (trial.label, trial.rule.fill_holes)
        if key not in shown or (math.isnan(shown[key].held_out) and not math.isnan(trial.held_out)):
            shown[key] = trial
    return columns, [_row(trial) for trial in sorted(shown.values(), key=_rank)]


def _rank(trial: Trial) -> tuple[bool, float, float]:
    """Smaller is better."""
    held_out, gain = (math.inf if math.isnan(gain) else -gain for gain in (trial.held_out, trial.gain))
    return not trial.kept, held_out, gain


def _row(trial: Trial) -> tuple[object, ...]:
    return (
        *(trial.name, trial.rule.words, trial.n, f"{trial.before:.3f} -> {trial.after:.3f}"),
        f"{trial.helped}, {trial.harmed}",
        *(_gain(trial.gain, trial.low, trial.high), _gain(trial.held_out, trial.held_low, trial.held_high)),
        trial.why,
    )


def _gain(mean: float, low: float, high: float) -> str:
    return "" if math.isnan(mean) or math.isnan(low) else f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def _plain(value: float) -> str | int:
    if isinstance(value, int):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"
