"""Which plans of a workbook can be written: ids that are unique, parents that exist, no circles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from fran.errors import choices
from fran.excel.ledger import Ledger
from fran.excel.plans import Draft, reference
from fran.plans.schema import MODE_ALIASES, Plan

_SHEET = "_sheet"


def settle(drafts: Sequence[Draft], ledger: Ledger) -> list[Draft]:
    """Plans that can be written, parents before their children; every other one has its reason in the ledger.

    A plan that a sheet and the table state alike is written once; where they differ, the table's keeps the name and
    the sheet's is written beside it with ``_sheet`` at the end of its name.
    """
    table = _unique([draft for draft in drafts if not draft.on_sheet], ledger)
    sheets = _unique([draft for draft in drafts if draft.on_sheet], ledger)
    for known in (table, {**table, **sheets}):
        for draft in known.values():
            if draft.on_sheet == (known is not table):
                _refer(draft, known, ledger)
    both = _beside(table, sheets)
    for draft in both.values():
        _add_null_remapping(draft, both)
        _mind_localiser(draft, both, ledger)
        _check_lengths(draft, both, ledger)
    _break_circles(both, ledger)
    _orphans(both, ledger)
    return _parents_first(both)


def _unique(drafts: Sequence[Draft], ledger: Ledger) -> dict[str, Draft]:
    named: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        named[draft.name].append(draft)
    for name, same in named.items():
        for again in same[1:]:
            again.failed = same[0].failed = True
            found = f"{name} stands in {same[0].anchor.where} too"
            ledger.problem(again.anchor, "id", "each id once", "give one of them another id", found=found)
    for name, same in named.items():
        for number, again in enumerate(same[1:], 2):
            named[name][0].notes.extend(again.notes)  # both rows are set aside with the plan
            again.name = f"{name}#{number}"
    return {name: same[0] for name, same in named.items()}


def _refer(draft: Draft, known: Mapping[str, Draft], ledger: Ledger) -> None:
    for key, cell in draft.references.items():
        name, mode = reference(cell.value, draft.prefix, known)
        target = known.get(name)
        if target is None:
            near = choices(name, [other for other in known if other != draft.name])
            ledger.problem(cell, f"{key} of plan {draft.name}", near, "name a plan of this workbook")
            draft.failed = True
            draft.note(cell, "set aside", detail=f"there is no plan {name} in this workbook")
            continue
        stated = MODE_ALIASES.get(str(target.values.get("mode")), target.values.get("mode"))
        if mode and stated and MODE_ALIASES.get(mode, mode) != stated:
            found = f"{cell.value}, and plan {name} of mode {stated}"
            ledger.problem(cell, f"{key} of plan {draft.name}", f"mode {stated}", "correct one", "warning", found)
        if key == "source_plan":
            draft.parent = name
        draft.values[key], draft.cells[key] = name, cell
        same = str(cell.value).strip() == name
        draft.note(cell, "mapped" if same else "converted", key, "" if same else f"{cell.shown} → {name}")


def effective(draft: Draft, known: Mapping[str, Draft]) -> dict[str, Any]:
    """Values of a plan with those it inherits, circles cut."""
    chain, seen = [draft], {draft.name}
    while (parent := known.get(chain[-1].parent or "")) is not None and parent.name not in seen:
        chain.append(parent)
        seen.add(parent.name)
    values: dict[str, Any] = {}
    for one in reversed(chain):
        values |= one.values
    return values


def _beside(table: dict[str, Draft], sheets: dict[str, Draft]) -> dict[str, Draft]:
    """Both kinds of plans under names that are theirs alone; a sheet's that says nothing new follows the table's."""
    view = {**table, **sheets}
    others = {name for name in sheets if name in table and _differ(sheets[name], view, table[name], table)}
    while more := {name for name in sheets if name in table and sheets[name].parent in others} - others:
        others |= more
    for name, draft in sheets.items():
        if name in table and name not in others:
            table[name].notes.extend(draft.notes)
            draft.name = ""
        elif name in others:
            draft.name = f"{name}{_SHEET}"
        for key in draft.references:
            if draft.values.get(key) in others:
                draft.values[key] = f"{draft.values[key]}{_SHEET}"
        draft.parent = draft.values.get("source_plan")
    return {**table, **{draft.name: draft for draft in sheets.values() if draft.name}}


def _differ(one: Draft, one_known: Mapping[str, Draft], other: Draft, other_known: Mapping[str, Draft]) -> bool:
    defaults = vars(Plan())
    first, second = (
        {"remapping_imported": None, **effective(*plan)} for plan in ((one, one_known), (other, other_known))
    )
    for values in (first, second):
        values["mode"] = MODE_ALIASES.get(str(values.get("mode")), values.get("mode"))
    keys = {item.name for item in fields(Plan)} - {"plan_name"}
    return one.failed != other.failed or any(
        first.get(key, defaults[key]) != second.get(key, defaults[key]) for key in keys
    )


def _add_null_remapping(draft: Draft, known: Mapping[str, Draft]) -> None:
    """A plan with imported label maps has to say how they are renumbered; the old blank cell meant "not at all"."""
    if draft.values.get("imported_folder") and "remapping_imported" not in effective(draft, known):
        draft.values["remapping_imported"] = None


def _mind_localiser(draft: Draft, known: Mapping[str, Draft], ledger: Ledger) -> None:
    """The old program had one localiser in its code; fran's plans name theirs."""
    values = effective(draft, known)
    mode = MODE_ALIASES.get(str(values.get("mode")), values.get("mode"))
    if mode == "rbd" and not values.get("localiser") and not values.get("imported_folder"):
        ledger.notes.append(f"plan {draft.name}: mode rbd crops to a localiser, which fran asks for: localiser=<a run>")


def _check_lengths(draft: Draft, known: Mapping[str, Draft], ledger: Ledger) -> None:
    """A list with one entry for each datasource should be as long as the list of datasources."""
    datasources = effective(draft, known).get("datasources")
    if isinstance(draft.values.get("imported_folder"), str) and len(datasources or []) > 1:
        ledger.notes.append(
            f"plan {draft.name}: imported_folder holds for all {len(datasources or [])} datasources;"
            " the old program used it for the first one alone"
        )
    for key, value in draft.values.items():
        listed = isinstance(value, list) and (key.startswith("remapping_") or key == "imported_folder")
        if not datasources or not listed or len(value) == len(datasources) or _from_to(value):
            continue
        cell, expected = draft.cells[key], f"one entry for each of the {len(datasources)} datasources"
        what, step = f"{key} of plan {draft.name}", "state one for each, or one for all"
        ledger.problem(cell, what, expected, step, "warning", f"{len(value)} in {cell.shown}")


def _from_to(value: list[Any]) -> bool:
    return len(value) == 2 and all(isinstance(side, list) for side in value)


def _break_circles(known: Mapping[str, Draft], ledger: Ledger) -> None:
    for draft in known.values():
        way = [draft.name]
        while (parent := known.get(way[-1])) is not None and parent.parent and parent.parent not in way:
            way.append(parent.parent)
        last = known.get(way[-1])
        if last is not None and last.parent == draft.name:
            found = " → ".join([*way, draft.name])
            cell = draft.cells["source_plan"]
            ledger.problem(cell, f"source_plan of plan {draft.name}", "parents that end", "take one out", found=found)
            draft.failed = True


def _orphans(known: Mapping[str, Draft], ledger: Ledger) -> None:
    """A plan whose parent cannot be written cannot be written either."""
    changed = True
    while changed:
        changed = False
        for draft in known.values():
            for key in draft.references:
                target = known.get(str(draft.values.get(key)))
                if target is not None and target.failed and not draft.failed:
                    cell = draft.cells[key]
                    ledger.problem(
                        cell, f"{key} of plan {draft.name}", "a plan that can be read", "mend that plan first"
                    )
                    draft.failed = changed = True


def _parents_first(known: Mapping[str, Draft]) -> list[Draft]:
    ordered: list[Draft] = []
    for draft in known.values():
        chain = []
        while draft is not None and draft not in ordered and draft not in chain:
            chain.append(draft)
            parent = known.get(draft.parent or "")
            if parent is None:
                break
            draft = parent
        ordered.extend(reversed(chain))
    return ordered
