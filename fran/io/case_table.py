"""cases.csv: one row for each case and label of a validation, in the run's folder."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fran.errors import StoreError
from fran.io.files import atomic_path

FILE = "cases.csv"
COLUMNS = ("case", "label", "dice", "nsd", "pred_mm3", "ref_mm3")


@dataclass(frozen=True)
class CaseScore:
    """One label of one case; what is not defined or was not measured is NaN.

    Attributes:
        case: case id.
        label: its name.
        dice: NaN where the label is in neither prediction nor reference, or the case does not annotate it.
        nsd: normalised surface Dice.
        pred_mm3, ref_mm3: volumes.
    """

    case: str
    label: str
    dice: float
    nsd: float = math.nan
    pred_mm3: float = math.nan
    ref_mm3: float = math.nan


def write_cases(path: Path | str, scores: Iterable[CaseScore]) -> None:
    """Write the rows in the order of case and label; NaN becomes an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for score in scores:
            numbers = (score.dice, score.nsd, score.pred_mm3, score.ref_mm3)
            writer.writerow([score.case, score.label, *("" if math.isnan(n) else f"{n:.6g}" for n in numbers)])


def read_cases(path: Path | str) -> list[CaseScore]:
    """Rows as written; further columns are passed over, missing ones but the first three are NaN.

    Raises:
        StoreError: no such file, or not a table of that form.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: expected a table of Dice per case, found none; the run has not been validated yet")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        lacking = [name for name in COLUMNS[:3] if name not in (reader.fieldnames or ())]
        if lacking:
            raise StoreError(f"{path}: expected the columns {', '.join(COLUMNS)}, found none called {lacking[0]}")
        rows = list(reader)
    scores = []
    for number, row in enumerate(rows, start=2):
        try:
            scores.append(CaseScore(row["case"], row["label"], *(_number(row.get(name)) for name in COLUMNS[2:])))
        except ValueError as error:
            raise StoreError(f"{path}:{number}: expected numbers, found {error}; validate the run again") from error
    return scores


def _number(text: str | None) -> float:
    return float(text) if text else math.nan
