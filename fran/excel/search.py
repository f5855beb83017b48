"""Search spaces from the tune columns.

A row's ``tune_value``, ``tune_type`` and ``quant`` become a domain of `fran.tuning.domains` for the row's new key, and
``tune_p`` a uniform domain for its probability. ``tune`` 0 keeps the domain with ``tune: false``. Numbers are converted
as the row's value is. The file is what `fran.tuning.space.Space` reads: ``key: {domain: ..., ...}``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fran.errors import ConfigError
from fran.excel.grammar import NotThis, is_blank, literal, number, numbers, truth
from fran.excel.layout import Row
from fran.excel.ledger import Ledger
from fran.excel.parameter_keys import Aside, Rule
from fran.excel.parameters import AXES, flips, network
from fran.excel.plan_keys import PLAN_KEYS
from fran.excel.plans import Draft
from fran.excel.render import flow
from fran.excel.workbook import Cell
from fran.tuning.domains import KINDS, Domain, Spec, Uniform, domain
from fran.tuning.space import Searched

Searches = dict[str, Searched]
_QUANTISED = ("quniform", "qrandint", "qloguniform")
_COLUMNS = ("tune", "tune_type", "tune_value", "quant")


def parameter_search(row: Row, rule: Rule, models: Collection[str], ledger: Ledger) -> Searches:
    """Domains for what one row of a parameter sheet searches; its tune cells are noted in the ledger."""
    try:
        return _search(row, rule, models, ledger)
    except Aside as reason:
        ledger.set_aside(_tune_cells(row.cells), str(reason))
        return {}


def plan_search(draft: Draft, ledger: Ledger) -> Searches:
    """Domains from the tune columns of a plan's own sheet."""
    found: Searches = {}
    for old, cells in draft.searched.items():
        key = PLAN_KEYS.get(draft.search_keys.get(old, ""))
        if key is None:
            ledger.set_aside(cells.values(), "belongs to a variable that is set aside")
            continue
        label = draft.anchor
        found |= parameter_search(Row(old, label, dict(cells)), Rule((key.key,), key.parse), (), ledger)
    return found


def _tune_cells(cells: Mapping[str, Cell]) -> list[Cell]:
    return [cells[name] for name in (*_COLUMNS, "tune_p") if name in cells]


def _search(row: Row, rule: Rule, models: Collection[str], ledger: Ledger) -> Searches:
    cells = row.cells
    name = cells.get("tune_type")
    stated = cells.get("tune_value")
    kind = "" if name is None or is_blank(name.value) else str(name.value).strip().lower()
    tune = _is_searched(cells.get("tune"), ledger)
    if kind not in KINDS:
        raise Aside(_no_kind(kind, tune, stated))
    if kind == "spec":
        raise Aside("spec was a rule in the old program's code; domain spec of docs/from_excel.md can state one")
    if stated is None or is_blank(stated.value) or stated.fault:
        raise Aside("a search without values")
    made = _domain(kind, row, rule, models)
    found = {rule.keys[0]: Searched(made, tune)}
    for other in rule.keys[1:]:
        found[other] = Searched(Spec(rule.keys[0]), tune)
    _put(row, rule, made, kind, ledger)
    return found | _probability(cells.get("tune_p"), rule, tune, ledger)


def _no_kind(kind: str, tune: bool, stated: Cell | None) -> str:
    if kind:
        return f"'{kind}' is no kind of search: {', '.join(KINDS)}"
    if stated is not None:
        return "values without a kind of search (tune_type)"
    return "searched without saying what" if tune else "not searched"


def _is_searched(cell: Cell | None, ledger: Ledger) -> bool:
    if cell is None or is_blank(cell.value) or cell.fault:
        return False
    try:
        return truth(cell.value)
    except NotThis as expected:
        ledger.problem(cell, "tune", str(expected), "mend the cell and import again", "warning")
        return False


def _domain(kind: str, row: Row, rule: Rule, models: Collection[str]) -> Domain:
    value = row.cells["tune_value"].value
    arguments: dict[str, Any] = {"domain": kind}
    try:
        if kind == "choice":
            arguments["options"] = _options(value, row, rule, models)
        elif kind == "double_range":
            arguments |= _double(value, rule)
        else:
            arguments |= _ends(kind, value, rule)
            arguments |= _step(kind, row.cells.get("quant"))
        return domain(rule.keys[0], arguments)
    except (NotThis, ConfigError) as error:
        raise Aside(f"cannot be searched: {error}") from error


def _options(value: Any, row: Row, rule: Rule, models: Collection[str]) -> list[Any]:
    """Choices in fran's words, those without an equivalent left out, none twice."""
    found = literal(value)
    options: list[Any] = []
    for item in found if isinstance(found, list) else [found]:
        try:
            option = _option(item, row, rule, models)
        except Aside:
            continue
        if option not in options:
            options.append(option)
    if not options:
        raise Aside("fran has nothing like any of these")
    return options


def _option(item: Any, row: Row, rule: Rule, models: Collection[str]) -> Any:
    if rule.keys == ("model",):
        return network(item, models)
    return flips(row, truth(item)) if row.name in AXES else rule.parse(item)


def _converted(value: float, rule: Rule) -> float:
    return rule.element(value) if rule.element else value


def _ends(kind: str, value: Any, rule: Rule) -> dict[str, Any]:
    found = numbers(value)
    if len(found) != 2:
        raise NotThis(f"two ends for {kind}, found {value}")
    low, high = sorted(_converted(v, rule) for v in found)
    return {"low": low, "high": high}


def _step(kind: str, quant: Cell | None) -> dict[str, Any]:
    if kind not in (*_QUANTISED, "range"):
        return {}
    if quant is None or is_blank(quant.value):
        return {} if kind == "range" else {"q": 1} if kind == "qrandint" else {"q": None}
    return {"step" if kind == "range" else "q": number(quant.value)}


def _double(value: Any, rule: Rule) -> dict[str, Any]:
    found = literal(value)
    if not (isinstance(found, list) and len(found) == 2 and all(isinstance(pair, list) for pair in found)):
        raise NotThis(f"two pairs, such as [0.5,1],[1,2], found {value}")
    low, high = ([_converted(v, rule) for v in numbers(pair)] for pair in found)
    if rule.search == "upper":
        return {"domain": "uniform", "low": min(high), "high": max(high)}
    return {"low": low, "high": high}


def _put(row: Row, rule: Rule, made: Domain, kind: str, ledger: Ledger) -> None:
    """Note the cells of a search."""
    key, cells = ", ".join(rule.keys), row.cells
    plain = made.plain()
    same = kind == plain["domain"] and rule.element is None
    if kind == "choice":
        same = plain["options"] == literal(cells["tune_value"].value)
    for column in ("tune", "tune_type"):
        ledger.put(cells.get(column), "mapped", key, "space", "")
    shown = cells["tune_value"].shown
    detail = "" if same else f"{shown} → {flow(plain)}"
    ledger.put(cells["tune_value"], "mapped" if same else "converted", key, "space", detail)
    if kind in _QUANTISED or kind == "range":
        ledger.put(cells.get("quant"), "renamed", f"{key}: {'step' if kind == 'range' else 'q'}", "space")
    else:
        ledger.put(cells.get("quant"), "set aside", detail=f"{kind} has no step")


def _probability(cell: Cell | None, rule: Rule, tune: bool, ledger: Ledger) -> Searches:
    if cell is None or is_blank(cell.value) or not rule.p_key:
        ledger.set_aside([cell], "fran's key has no probability of its own")
        return {}
    try:
        low, high = sorted(float(v) for v in numbers(cell.value))
        made = Uniform(low, high)
    except (NotThis, ValueError):
        ledger.set_aside([cell], "expected the two ends of a probability")
        return {}
    ledger.put(cell, "renamed", rule.p_key, "space", flow(made.plain()))
    return {rule.p_key: Searched(made, tune)}
