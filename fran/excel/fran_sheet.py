"""The sheet ``fran_settings``: fran's own dotted keys, a key a row, as `fran.excel.export` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import yaml

from fran.augmentation.settings import AugmentationSettings
from fran.errors import ConfigError, choices
from fran.excel.grammar import truth
from fran.excel.layout import Row
from fran.excel.ledger import Ledger
from fran.excel.parameters import PRESET_KEYS, file_of
from fran.excel.search import Searches
from fran.excel.workbook import Cell
from fran.plans.schema import Plan
from fran.training.settings import TrainerSettings
from fran.tuning.domains import domain
from fran.tuning.space import Searched

_ROOT = (*PRESET_KEYS, "model")


@dataclass
class FranRows:
    """What such a sheet states.

    Attributes:
        values: dotted key to value.
        searched: the workbook's search space.
        by_plan: plan to a search space of its own.
    """

    values: dict[str, Any] = field(default_factory=dict)
    searched: Searches = field(default_factory=dict)
    by_plan: dict[str, Searches] = field(default_factory=dict)


def known_keys() -> list[str]:
    """Every dotted key that a configuration of a training has, but those of a network."""
    settings: list[tuple[str, Any]] = [("trainer", TrainerSettings()), ("augmentation", AugmentationSettings())]
    found = [key for name, one in settings for key in _dotted(name, one)]
    return [*_ROOT, *(item.name for item in fields(Plan)), *found]


def _dotted(prefix: str, settings: Any) -> Iterator[str]:
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            yield from _dotted(f"{prefix}.{item.name}", value)
        else:
            yield f"{prefix}.{item.name}"


def read_fran_rows(rows: Sequence[Row], ledger: Ledger) -> FranRows:
    """Settings and searches of fran's own sheet; texts are read as yaml."""
    found = FranRows()
    known = known_keys()
    for row in rows:
        key = str(row.label.value).strip()
        if key not in known and not key.startswith("model."):
            ledger.set_aside([row.label, *row.cells.values()], f"fran has no such key; {choices(key, known)}")
            continue
        try:
            _row(key, row, found, ledger)
        except (yaml.YAMLError, ConfigError, ValueError) as error:
            ledger.problem(row.label, key, "values as fran writes them", "mend the row", found=str(error))
            ledger.set_aside([row.label, *row.cells.values()], "the row cannot be read")
    return found


def _row(key: str, row: Row, found: FranRows, ledger: Ledger) -> None:
    cells = row.cells
    ledger.put(row.label, "mapped", key, file_of(key))
    value = cells.get("manual_value")
    if value is not None:
        found.values[key] = _plain(value)
        ledger.put(value, "mapped", key, file_of(key))
    kind = cells.get("tune_type")
    if kind is None:
        return
    stated = {"domain": str(kind.value), **(_plain(cells["tune_value"]) if "tune_value" in cells else {})}
    searched = Searched(domain(key, stated), "tune" not in cells or truth(cells["tune"].value))
    plan = cells.get("plan")
    space = found.searched if plan is None else found.by_plan.setdefault(str(plan.value), {})
    space[key] = searched
    for name in ("tune", "tune_type", "tune_value", "plan"):
        ledger.put(cells.get(name), "mapped", key, "space")


def _plain(cell: Cell) -> Any:
    return yaml.safe_load(cell.value) if isinstance(cell.value, str) else cell.value
