"""Old headings and variables of plans, the keys they became, and how their cells are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fran.errors import choices
from fran.excel.grammar import NotThis, literal, names, number, split, triple, truth, whole
from fran.plans.schema import MODE_ALIASES, MODES

PATHS = {
    "cold_storage_folder": "paths.cold",
    "rapid_access_folder": "paths.rapid",
    "projects_folder": "paths.projects",
    "checkpoints_parent_folder": "paths.checkpoints",
}


class Interpolated(str):
    """A text whose ``${...}`` Hydra fills in; in every other text they are only letters."""


@dataclass(frozen=True)
class PlanKey:
    """How one old key is read.

    Attributes:
        key: the plan's key now.
        parse: value of a cell; raises `NotThis`.
        says: the conversion in words, where the value changes.
    """

    key: str
    parse: Callable[[Any], Any]
    says: str = ""


def _text(value: Any) -> str:
    return str(value).strip()


def _mode(value: Any) -> str:
    mode = _text(value).lower()
    if mode not in MODES and mode not in MODE_ALIASES:
        raise NotThis(choices(mode, [*MODES, *MODE_ALIASES]))
    return mode


def _patch_based(value: Any) -> str:
    return "sourcepbd" if truth(value) else "source"


def _whole_numbers(value: Any) -> list[int]:
    found = literal(value)
    return [whole(item) for item in (found if isinstance(found, list) else [found])]


def _imported_labels(value: Any) -> Any:
    text = _text(value)
    return text if text.startswith("TSL.") else _whole_numbers(value)


def _groups(value: Any) -> list[list[str]]:
    """Names of datasources, group by group; names without brackets round each group are one group."""
    found = literal(value)
    items = found if isinstance(found, list) else [found]
    groups = items if any(isinstance(item, list) for item in items) else [items]
    if not all(isinstance(group, list) and all(isinstance(name, str) for name in group) for group in groups):
        raise NotThis("groups of datasources, such as [a,b],[c]")
    return groups


def _margin(value: Any) -> float:
    found = literal(value)
    several = found if isinstance(found, list) else [found]
    if len(set(map(str, several))) != 1:
        raise NotThis("one margin for all directions, in mm")
    return float(number(several[0]))


def _folder(value: Any) -> Any:
    """A folder, or a list with one for each datasource; ``$key/`` is a root folder of fran."""
    text = _text(value)
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    folders = [_one_folder(part.strip("'\"")) for part in split(inner)]
    return folders if len(folders) > 1 else folders[0]


def _one_folder(text: str) -> str | None:
    if literal(text) is None:
        return None
    rooted = re.match(r"\$(\w+)", text)
    if rooted and rooted.group(1) in PATHS:
        return Interpolated(f"${{{PATHS[rooted.group(1)]}}}{text[rooted.end() :]}")
    return text


def remapping(value: Any) -> Any:
    """A dict, two lists, a name of the label table, or a list with one of these (or null) for each datasource.

    Two names with a comma between them are how the middle generation wrote ``from:to``.

    Example:
        >>> remapping("{1:0,2:1},None"), remapping("TSL.all,TSL.label_minimal"), remapping("[1,2,3],[0,2,3]")
        ([{1: 0, 2: 1}, None], 'TSL.all:TSL.label_minimal', [[1, 2, 3], [0, 2, 3]])
    """
    parts = [_one_remapping(part) for part in split(_text(value))]
    if len(parts) > 1 and len(parts) % 2 == 0 and all(_is_name(part) for part in parts):
        parts = [f"{parts[i]}:{parts[i + 1]}" for i in range(0, len(parts), 2)]
    if len(parts) > 2 and all(_is_list(part) and len(part) == 2 for part in parts):
        return dict(parts)
    return parts if len(parts) > 1 else parts[0]


def label_pairs(value: Any) -> Any:
    """`remapping`, whose lists of two are pairs from:to.

    Example:
        >>> label_pairs("[0,0],[1,1],[2,1]")
        {0: 0, 1: 1, 2: 1}
    """
    parts = literal(value)
    if isinstance(parts, list) and all(_is_list(part) and len(part) == 2 for part in parts):
        return dict(parts)
    return remapping(value)


def _is_name(part: Any) -> bool:
    return isinstance(part, str) and ":" not in part


def _is_list(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(item, int) for item in part)


def _one_remapping(text: str) -> Any:
    found = literal(text)
    if found is None:
        return None
    if isinstance(found, dict):
        if not all(_is_entry(key, new) for key, new in found.items()):
            raise NotThis("label values in a dict, such as {1: 0, 2: 1}")
        return found
    if isinstance(found, list) and all(_is_label(item) or _is_list(item) for item in found):
        return found
    if isinstance(found, list) and text[0] == "[":
        return [_one_remapping(part) for part in split(text[1:-1])]  # brackets say: one for each datasource
    if isinstance(found, str) and found.startswith("TSL."):
        return ":".join(side.strip() for side in found.split(":"))
    raise NotThis("a dict {1: 0, 2: 1}, [from],[to], TSL.<from>:<to>, or one of these for each datasource")


def _is_entry(key: Any, new: Any) -> bool:
    """One entry of a dict: a label, the others (``rest``), or a datasource with a remapping of its own."""
    if _is_label(key):
        return _is_label(new)
    if key == "rest":
        return _is_label(new) or new == "keep"
    return new is None or isinstance(new, dict | list) or str(new).startswith("TSL.")


def _is_label(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_REMAPPING = "one for each datasource; two names with a comma between them are from:to"
PLAN_KEYS: dict[str, PlanKey] = {
    "notes": PlanKey("notes", _text),
    "datasources": PlanKey("datasources", names),
    "lm_groups": PlanKey("lm_groups", _groups),
    "mode": PlanKey("mode", _mode),
    "spacing": PlanKey("spacing", triple),
    "spacings": PlanKey("spacing", triple),
    "patch_dim0": PlanKey("patch_dim0", whole),
    "patch_dim1": PlanKey("patch_dim1", whole),
    "patch_overlap": PlanKey("patch_overlap", number),
    "expand_by": PlanKey("expand_by", _margin),
    "samples_per_file": PlanKey("samples_per_file", whole),
    "use_fg_indices": PlanKey("use_fg_indices", truth),
    "fg_indices_exclude": PlanKey("fg_indices_exclude", _whole_numbers),
    "imported_folder": PlanKey("imported_folder", _folder, "$cold_storage_folder and its like are ${paths.cold}, ..."),
    "imported_labels": PlanKey("imported_labels", _imported_labels),
    "merge_imported_labels": PlanKey("merge_imported_labels", truth),
    "localiser": PlanKey("localiser", _text),
    "localiser_regions": PlanKey("localiser_regions", names),
    "remapping_source": PlanKey("remapping_source", remapping, _REMAPPING),
    "remapping_lbd": PlanKey("remapping_lbd", remapping, _REMAPPING),
    "remapping_lbd_rbd": PlanKey("remapping_lbd", remapping, _REMAPPING),
    "remapping_lbd_kbd": PlanKey("remapping_lbd", remapping, _REMAPPING),
    "remapping_whole": PlanKey("remapping_whole", remapping, _REMAPPING),
    "remapping_imported": PlanKey("remapping_imported", remapping, _REMAPPING),
    "remapping_train": PlanKey("remapping_train", remapping, _REMAPPING),
    "src_dest_labels": PlanKey("remapping_train", label_pairs, "pairs [from, to] are a dict"),
    "patch_based": PlanKey("mode", _patch_based, "TRUE is sourcepbd, FALSE is source"),
    "vip_label": PlanKey("vip_label", whole),
    "half_precision": PlanKey("half_precision", truth),
    "clip_hu": PlanKey("clip_hu", _whole_numbers),
    "classes": PlanKey("classes", literal),
}
REFERENCES = ("source_plan", "plan_valid", "plan_test")
BY_MODE = {"whole": "remapping_whole", "lbd": "remapping_lbd", "rbd": "remapping_lbd", "kbd": "remapping_lbd"}
NOT_KEYS: dict[str, str] = {
    "var_name": "a leftover of turning sheets into a table; says nothing",
    "manual_value": "a leftover of turning sheets into a table; says nothing",
    "run_name": "an old run; fran's own runs are named when they are trained or applied",
    "nnz_allowed": "fran keeps cases without foreground and notes has_foreground for each; no key leaves them out",
    "periodict_test": "the old program never used it",
    "tune": "a table's row cannot say which key is searched; use tune columns on a sheet for the plan",
    "tune_value": "a table's row cannot say which key is searched; use tune columns on a sheet for the plan",
    "tune_type": "a table's row cannot say which key is searched; use tune columns on a sheet for the plan",
    "quant": "a table's row cannot say which key is searched; use tune columns on a sheet for the plan",
    "expand_mode": "fran's margins are in mm",
    "src_dims": "fran works out what is read around a patch itself",
}
