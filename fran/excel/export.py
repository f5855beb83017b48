"""Configuration files as a workbook: plans as a table, settings and search spaces as rows of fran's own keys.

`fran.excel.importer` reads such a workbook back into the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import openpyxl
import yaml

from fran.errors import ConfigError, choices
from fran.excel.layout import slug
from fran.excel.plan_keys import PATHS
from fran.excel.plans import EXPLICIT_NULL
from fran.excel.render import flow
from fran.io.files import atomic_path
from fran.plans.schema import Plan

_KEYS = [item.name for item in fields(Plan) if item.name != "plan_name"]
_SETTINGS = ("var_name", "manual_value", "tune", "tune_type", "tune_value", "plan")
_OLD_PATHS = {f"${{{new}}}": f"${old}" for old, new in PATHS.items()}
_WIDEST = 60


@dataclass
class Table:
    """What a folder of configurations says, as rows.

    Attributes:
        plans: key to cell, for each plan.
        settings: rows under the headings of ``fran_settings``.
        left_out: what a table cannot say, with its file.
    """

    plans: list[dict[str, Any]] = field(default_factory=list)
    settings: list[tuple[Any, ...]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def export_folder(conf: Path, out: Path) -> Table:
    """Write the plans and settings below `conf` as a workbook.

    Where a group has several files, the one that is named like the workbook is taken.

    Args:
        conf: folder with ``plan/`` and, perhaps, ``trainer/``, ``model/``, ``augmentation/``, ``preset/``, ``space/``.
        out: the workbook, an .xlsx.

    Raises:
        ConfigError: there are no plans, or a group has several files and none of that name; a file is no yaml.
    """
    folder = conf if (conf / "plan").is_dir() else conf / "conf"
    files = sorted((folder / "plan").glob("*.yaml"))
    if not files:
        raise ConfigError(f"{conf}: expected plan/*.yaml or conf/plan/*.yaml in it, found none")
    table = Table()
    for file in files:
        table.plans.append(_plan(file, table.left_out))
    name = slug(out.stem)
    for group in ("model", "trainer", "augmentation", "preset"):
        _settings(group, _chosen(folder, group, name), table)
    names = [file.stem for file in files]
    _spaces(folder, name, names, table)
    with atomic_path(out) as temporary:
        _workbook(table).save(temporary)
    return table


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: expected yaml, found a mistake: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: expected keys and values")
    return content


def _plan(file: Path, left_out: list[str]) -> dict[str, Any]:
    content = _read(file)
    parents = [item for item in content.pop("defaults", []) if item != "_self_"]
    source = content.get("source_plan")
    if parents != ([source] if source else []):
        left_out.append(f"{file}: inherits from {', '.join(map(str, parents))}; a table knows source_plan alone")
    left_out += [f"{file}: {key}" for key in content if key not in _KEYS and key != "plan_name"]
    return {"plan_name": file.stem} | {key: _cell(key, content[key]) for key in _KEYS if key in content}


def _cell(key: str, value: Any) -> Any:
    """A value as the grammar of cells writes it."""
    if value is None:
        return EXPLICIT_NULL
    if isinstance(value, bool | int | float):
        return value
    if key == "imported_folder":
        listed = value if isinstance(value, list) else [value]
        return ",".join("None" if item is None else _old_path(item) for item in listed)
    if isinstance(value, str):
        return value.replace("\\${", "${")
    return flow(value)


def _old_path(text: str) -> str:
    for new, old in _OLD_PATHS.items():
        if text.startswith(new):
            return old + text.removeprefix(new)
    return text


def _chosen(folder: Path, group: str, name: str) -> Path | None:
    files = {file.stem: file for file in sorted((folder / group).glob("*.yaml"))}
    if not files or name in files:
        return files.get(name)
    if len(files) > 1:
        raise ConfigError(f"{folder / group}: which file? name the workbook like it; {choices(name, list(files))}")
    return next(iter(files.values()))


def _settings(group: str, file: Path | None, table: Table) -> None:
    if file is None:
        return
    content = _read(file)
    defaults = content.pop("defaults", [])
    if group == "model":
        table.settings.append(("model", flow(defaults[0]) if defaults else None))
    elif group == "preset":
        chosen = next((item["override /plan"] for item in defaults if "override /plan" in item), None)
        table.settings += [("plan", chosen)] if chosen else []
    prefix = "" if group == "preset" else f"{group}."
    table.settings += [(key, flow(value)) for key, value in _flat(content, prefix)]


def _flat(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value and prefix in ("trainer.",):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _spaces(folder: Path, name: str, plans: list[str], table: Table) -> None:
    files = sorted((folder / "space").glob("*.yaml"))
    of_no_plan = [file.stem for file in files if file.stem not in plans]
    if len(of_no_plan) == 1 and all(file.stem != name for file in files):
        name = of_no_plan[0]  # the workbook's own, which is exported under another name
    for file in files:
        plan = file.stem if file.stem in plans and file.stem != name else None
        if plan is None and file.stem != name:
            table.left_out.append(f"{file}: a search space of neither the workbook nor a plan")
            continue
        for key, stated in _read(file).items():
            rest = {k: v for k, v in stated.items() if k not in ("domain", "tune")}
            table.settings.append((key, None, stated.get("tune", True), stated["domain"], flow(rest), plan))


def _workbook(table: Table) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    used = ["plan_name", *(key for key in _KEYS if any(key in plan for plan in table.plans))]
    _sheet(book, "plans", used, [[plan.get(key) for key in used] for plan in table.plans])
    if table.settings:
        _sheet(book, "fran_settings", _SETTINGS, table.settings)
    return book


def _sheet(book: openpyxl.Workbook, title: str, headings: Any, rows: Any) -> None:
    sheet = book.create_sheet(title)
    for number, row in enumerate([headings, *rows], 1):
        for column, value in enumerate(row, 1):
            if value is not None:
                cell = sheet.cell(number, column, value)
                cell.data_type = "s" if isinstance(value, str) else cell.data_type  # a text with = is no formula
    for column, heading in enumerate(headings, 1):
        longest = max([len(str(heading)), *(len(str(row[column - 1])) for row in rows if len(row) >= column)])
        sheet.column_dimensions[openpyxl.utils.get_column_letter(column)].width = min(longest + 2, _WIDEST)
    sheet.freeze_panes = "B2"
