"""Parameter sheets: settings of the model, the trainer and the augmentation, and what a preset chooses."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from fran.errors import choices
from fran.excel.grammar import NotThis, is_blank, literal, number, truth
from fran.excel.layout import Parameters, Row
from fran.excel.ledger import Ledger, Outcome
from fran.excel.parameter_keys import FOR_ALL_PLANS, ONE_PLAN, SHEETS, Aside, Rule, rule_for, same
from fran.excel.plan_keys import PLAN_KEYS
from fran.excel.workbook import Cell

_FORMER_NETWORKS = {"nnunet": "dynunet", "nnunetv1": "dynunet", "dynunetub": "dynunet", "unet3d": "unet"}
#: Networks of fran to which the old settings of networks correspond.
_TAKE_ALL = ("dynunet", "unet", "resunet", "resunet_s")
AXES = {"flip": (1.0, 1.0, 0.0), "flip_random": (1.0, 1.0, 1.0)}
NOTHING = "states nothing: fran's own value"
_MEND = "mend the cell and import again"


PRESET_KEYS = ("fold", "plan", "plan_valid", "plan_test", "remapping_train")


@dataclass(frozen=True)
class Setting:
    """A value for a dotted key, and the cells it comes from."""

    value: Any
    row: Row


@dataclass
class Settings:
    """What the parameter sheets say in fran's words.

    Attributes:
        values: dotted key (``trainer.batch_size``, ``model``, ``fold``, ...) to its value.
        searched: rows with tune columns, with what their variable is now.
        one_plan: variables that make the one plan of a workbook without plans.
        plans: ``plan``, ``plan_valid`` and ``plan_test`` to the cell that names the plan.
    """

    values: dict[str, Setting] = field(default_factory=dict)
    searched: list[tuple[Row, Rule]] = field(default_factory=list)
    one_plan: dict[str, tuple[Cell, Cell]] = field(default_factory=dict)
    plans: dict[str, Row] = field(default_factory=dict)
    fran_rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class _Reader:
    """What reading one row needs besides the row."""

    settings: Settings
    models: Collection[str]
    ledger: Ledger
    has_plans: bool


def read_parameters(
    sheets: Sequence[Parameters], models: Collection[str], ledger: Ledger, *, has_plans: bool
) -> Settings:
    """Settings from every parameter sheet; each of their cells is noted in the ledger, but those of a search.

    Args:
        sheets: parameter sheets.
        models: names of the networks that fran has.
        ledger: takes outcomes and problems.
        has_plans: the workbook states plans, so that parameters do not.
    """
    reader = _Reader(Settings(), models, ledger, has_plans)
    for sheet in sheets:
        stated = {row.name: row.cells["manual_value"].value for row in sheet.rows if "manual_value" in row.cells}
        for row in sheet.rows:
            if sheet.kind == "fran":
                reader.settings.fran_rows.append(row)
            else:
                _row(sheet.kind, row, stated, reader)
    _adam_decays_nothing(reader.settings, ledger)
    return reader.settings


def _row(kind: str, row: Row, stated: dict[str, Any], reader: _Reader) -> None:
    rule = rule_for(kind, row.name)
    if kind == "intensity" and row.name == "brightness" and "scale" not in stated:
        rule = SHEETS["early_intensity"]["brightness"]
    cells = [row.label, *row.cells.values()]
    if row.name in ONE_PLAN and (rule is None or (isinstance(rule, str) and not reader.has_plans)):
        _of_a_plan(row, stated, reader)
    elif rule is None:
        known = choices(row.name, list(SHEETS.get(kind, {})))
        reader.ledger.set_aside(cells, f"fran knows no such variable; {known}")
    elif isinstance(rule, str):
        reader.ledger.set_aside(cells, rule)
    elif rule.keys[0].startswith("model.") and (other := _other_network(rule.keys[0], stated, reader.models)):
        reason = f"{rule.keys[0]} belongs to dynunet and the like; this workbook's network is {other}"
        reader.ledger.set_aside(cells, reason)
    elif rule.keys[0] in ("plan", "plan_valid", "plan_test"):
        reader.settings.plans[rule.keys[0]] = row
    else:
        _apply(row, rule, stated, reader)


def _of_a_plan(row: Row, stated: dict[str, Any], reader: _Reader) -> None:
    """A variable that is a plan's today: it makes the one plan of a workbook that has no plans."""
    value, known = row.cells.get("manual_value"), reader.settings.one_plan
    if reader.has_plans and row.name in FOR_ALL_PLANS and value is not None and not is_blank(value.value):
        rule = Rule(("remapping_train",), PLAN_KEYS[row.name].parse, "the preset states it for all plans")
        _apply(row, rule, stated, reader)
        return
    why = "each plan states it" if reader.has_plans else "no value is stated" if value is None else _share(row, value)
    if why or value is None or row.name in known:
        reader.ledger.set_aside([row.label, *row.cells.values()], why or "it is stated on another sheet already")
        return
    known[row.name] = (row.label, value)
    if row.name.startswith("patch_dim"):
        reader.settings.searched.append((row, Rule((row.name,), same)))


def _share(row: Row, value: Cell) -> str:
    """Why a margin of the first generation cannot be used; empty for anything else."""
    try:
        is_share = row.name == "expand_by" and 0 < number(value.value) < 1
    except NotThis:
        return ""
    return "a share of the box then, mm in fran; a share cannot be converted without the case" if is_share else ""


def _apply(row: Row, rule: Rule, stated: dict[str, Any], reader: _Reader) -> None:
    settings, ledger = reader.settings, reader.ledger
    settings.searched.append((row, rule))
    shown = ", ".join(rule.keys)
    renamed: Outcome = "mapped" if row.name == rule.keys[0] else "renamed"
    cell = row.cells.get("manual_value")
    if cell is None and row.name in AXES:
        cell = row.cells.get("manual_p")  # the oldest sheets state a probability alone
    if cell is None or (is_blank(cell.value) and not cell.fault):
        ledger.put(cell, "mapped", shown, "", NOTHING)
        return
    value = _value(row, rule, cell, stated, reader)
    if value is None:
        return
    again = next((key for key in rule.keys if key in settings.values), None)
    if again is not None:
        where = settings.values[again].row.label.where
        ledger.set_aside([cell, row.cells.get("manual_p")], f"{again} is stated in {where} already")
        return
    for key in rule.keys:
        settings.values[key] = Setting(value, row)
    if rule.p_key:
        _probability(row, rule, settings, ledger)
    if row.name in AXES:
        ledger.put(row.cells.get("manual_p"), "converted", shown, file_of(shown), f"→ {value}")
    kept = rule.says == "" and (literal(cell.value) == value or isinstance(value, bool))
    detail = "" if kept else f"{cell.shown} → {value}" + (f" ({rule.says})" if rule.says else "")
    outcome: Outcome = "converted" if not kept and rule.says else renamed
    ledger.put(cell, outcome, shown, file_of(rule.keys[0]), detail)


def _value(row: Row, rule: Rule, cell: Cell, stated: dict[str, Any], reader: _Reader) -> Any:
    """The value of a row in fran's words; None where it is set aside or cannot be read."""
    try:
        if cell.fault:
            raise NotThis("a value")
        reason = rule.unless(stated) if rule.unless and rule.parse(cell.value) is not None else ""
        if reason:
            raise Aside(f"{reason}; {rule.keys[0]} is its like")
        if row.name in AXES:
            return flips(row, cell is row.cells.get("manual_p") or truth(cell.value))
        if rule.keys == ("model",):
            return network(cell.value, reader.models)
        return rule.parse(cell.value)
    except Aside as reason:
        reader.ledger.set_aside([cell, row.cells.get("manual_p")], str(reason))
    except NotThis as expected:
        reader.ledger.problem(cell, row.name, str(expected), _MEND)
        reader.ledger.set_aside([cell, row.cells.get("manual_p")], f"cannot be read: expected {expected}")
    return None


def flips(row: Row, on: bool) -> list[float]:
    """One probability for each axis, from a truth value and the probability beside it."""
    beside = row.cells.get("manual_p")
    p = number(beside.value) if beside is not None and not is_blank(beside.value) else 0.5
    return [axis * p * on for axis in AXES[row.name]]


def _probability(row: Row, rule: Rule, settings: Settings, ledger: Ledger) -> None:
    cell = row.cells.get("manual_p")
    if cell is None or is_blank(cell.value):
        return
    try:
        p = float(number(cell.value))
        if not 0 <= p <= 1:
            raise NotThis("a probability")
    except NotThis as expected:
        ledger.problem(cell, f"probability of {row.name}", f"{expected} from 0 to 1", _MEND)
        return
    settings.values[rule.p_key] = Setting(p, row)
    ledger.put(cell, "renamed", rule.p_key, file_of(rule.p_key))


def network(value: Any, models: Collection[str]) -> str:
    """Name of fran's network for an old one.

    Raises:
        Aside: fran has none.

    Example:
        >>> network("nnUNet", ["dynunet"]), network("ResUNet", ["resunet"]), network("UNet3D", ["dynunet", "unet"])
        ('dynunet', 'resunet', 'unet')
    """
    plain = re.sub(r"[^a-z0-9]", "", str(value).lower())
    wanted = _FORMER_NETWORKS.get(plain, plain)
    found = next((model for model in sorted(models) if re.sub(r"[^a-z0-9]", "", model) == wanted), None)
    if found is None:
        raise Aside(f"fran has no network {value}: {', '.join(sorted(models))}")
    return found


def _other_network(key: str, stated: dict[str, Any], models: Collection[str]) -> str:
    """The workbook's network, where it has no setting `key`."""
    try:
        found = network(stated["arch"], models)
    except (Aside, KeyError):
        return ""
    takes = _TAKE_ALL if key != "model.res_block" else _TAKE_ALL[:1]
    return "" if found in takes else found


def _adam_decays_nothing(settings: Settings, ledger: Ledger) -> None:
    """Adam without a stated weight decay had none, fran's adamw has one."""
    name = settings.values.get("trainer.optimiser.name")
    old = "" if name is None else str(name.row.cells["manual_value"].value).strip().lower()
    key = "trainer.optimiser.weight_decay"
    if name is not None and old in ("adam", "sgd") and key not in settings.values:
        settings.values[key] = Setting(0.0, name.row)
        ledger.notes.append(f"{key} is 0: {old} without a stated decay had none, fran's own is another")


def file_of(key: str) -> str:
    """Group of configuration files that a dotted key belongs to.

    Example:
        >>> file_of("trainer.loss.ce_weight"), file_of("model"), file_of("fold"), file_of("patch_dim0")
        ('trainer', 'model', 'preset', 'plan')
    """
    group = key.partition(".")[0]
    if group in ("trainer", "model", "augmentation"):
        return group
    return "preset" if key in PRESET_KEYS else "plan"
