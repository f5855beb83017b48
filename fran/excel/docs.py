"""The tables of docs/from_excel.md, made from the mapping: ``python -m fran.excel.docs docs/from_excel.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from fran.excel.layout import PARAMETER_SHEETS, SIDE_SHEETS
from fran.excel.parameter_keys import SHEETS, Rule
from fran.excel.plan_keys import NOT_KEYS, PLAN_KEYS, REFERENCES
from fran.io.made_parts import renew, with_made

BEGIN = "<!-- made by `python -m fran.excel.docs docs/from_excel.md`; edit the mapping in fran/excel/ instead -->"
_BY_HAND = {
    "id, mnemonic": ("`plan_name`", "`plan4`, or `liver_plan4` where the row has a mnemonic"),
    "remapping": ("`remapping_source`, `_lbd`, `_whole`", "that of the plan's mode"),
    "expand_by_lbd, expand_by_patch": ("`expand_by`", "that of the plan's own stage; the other is set aside"),
    "patch_size": ("`patch_dim0`, `patch_dim1`", "[a, a, b] are a and b"),
}


def tables() -> str:
    """Markdown: what each old variable is now, for plans and then for every parameter sheet."""
    lines = ["### Plans: sheets `plan1`, `plan2`, ... and the rows of `plans`", "", *_heading()]
    lines += [_row(old, new, says) for old, (new, says) in _BY_HAND.items()]
    lines += [_row(old, f"`{old}`", "`4`, `plan4` or `4, lbd` is the plan's name") for old in REFERENCES]
    lines += [_row(old, f"`{rule.key}`", rule.says) for old, rule in PLAN_KEYS.items()]
    lines += [_row(old, "—", reason) for old, reason in NOT_KEYS.items()]
    for kind, entries in SHEETS.items():
        named = " and ".join(f"`{sheet}`" for sheet, k in PARAMETER_SHEETS.items() if k == kind)
        lines += ["", f"### Sheet {named}", "", *_heading(), *_parameters(entries)]
    lines += ["", "### Other sheets", "", "| sheet | why it is set aside |", "|---|---|"]
    lines += [f"| `{sheet}` | {reason} |" for sheet, reason in SIDE_SHEETS.items()]
    lines.append("| `plans_...` | the old program took plans from the sheet `plans` alone |")
    return "\n".join(lines)


def _heading() -> list[str]:
    return ["| old | now | conversion, or why it is set aside |", "|---|---|---|"]


def _parameters(entries: dict[str, Rule | str]) -> Iterator[str]:
    for old, entry in entries.items():
        if isinstance(entry, str):
            yield _row(old, "—", entry)
            continue
        keys = [f"`{key}`" for key in entry.keys] + ([f"`{entry.p_key}`"] if entry.p_key else [])
        only = "for the old network UNet3D; " if entry.unless else ""
        yield _row(old, ", ".join(keys), f"{only}{entry.says}".removesuffix("; "))


def _row(old: str, new: str, says: str) -> str:
    names = ", ".join(f"`{name}`" for name in old.split(", "))
    return f"| {names} | {new} | {says.replace('|', chr(92) + '|')} |"


def with_tables(page: str) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: it has no place for them.
    """
    return with_made(page, BEGIN, tables())


if __name__ == "__main__":
    renew(Path(sys.argv[1]), BEGIN, tables())
