"""The way of a plan's labels, resolved from the project's database before any case is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fran.errors import ConfigError, SettingProblem, SettingsFailed, choices, raise_for_settings
from fran.labels import (
    LabelFlow,
    LabelRules,
    LabelTable,
    Remapping,
    parse_classes,
    parse_remapping,
    resolve_labels,
)
from fran.plans.chain import data_stages
from fran.plans.schema import UNSET, Plan
from fran.workflows.locations import conf_dir, user_conf_dirs

if TYPE_CHECKING:
    from fran.projects.project import Project

log = logging.getLogger("fran.labels")

TABLE = Path("labels") / "tsl.yaml"
#: Modes whose stage changes labels, and which of a plan's remappings each reads.
_READ_AT = {"lbd": "lbd", "rbd": "lbd", "whole": "whole"}
Read = TypeVar("Read")


def table_path() -> Path:
    """The label table that counts: a user's own, ``$FRAN_CONF`` before ``conf`` in fran's home, or the shipped one."""
    folders = (*user_conf_dirs(), conf_dir())
    return next((folder / TABLE for folder in folders if (folder / TABLE).is_file()), conf_dir() / TABLE)


def label_table() -> LabelTable:
    """The table in `table_path`, read once while it does not change.

    Raises:
        ConfigError: mistakes in the file.
    """
    path = table_path()
    return _read_table(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read_table(path: Path, stamp: int) -> LabelTable:
    return LabelTable.read(path)


def label_flow(project: Project, plan: Plan, stages: Sequence[Plan] | None = None) -> LabelFlow:
    """What becomes of every label of the plan's datasources.

    Args:
        project: with its cases.
        plan: resolved.
        stages: what preprocessing goes through, see `fran.plans.chain.data_stages`; None is the plan's own chain of
            one plan.

    Raises:
        SettingsFailed: everything about the plan's labels that cannot work, together.
        ConfigError: the plan names datasources that the project does not have.
    """
    from fran.projects.source_labels import source_labels

    rows = project.database.sources()
    names = chosen_datasources(plan, list(rows))
    rules = label_rules(plan, names, _groups(project, plan, list(rows)), stages)
    return resolve_labels(source_labels(project.cases(), {name: rows[name] for name in names}), rules)


def say_notes(flow: LabelFlow) -> None:
    """Log what is worth knowing about a plan's labels."""
    for note in flow.notes:
        log.warning("%s", note)
    for line in partly_annotated(flow):
        log.info("%s", line)


def partly_annotated(flow: LabelFlow) -> list[str]:
    """A line for each datasource that lacks classes."""
    missing = {ds: ", ".join(flow.scheme.names[v] for v in values) for ds, values in flow.unannotated.items()}
    meaning = "its cases do not teach these as background and are not judged on them"
    return [f"{ds} does not annotate {names}: {meaning}" for ds, names in missing.items() if names]


def chosen_datasources(plan: Plan, known: Sequence[str]) -> list[str]:
    """The plan's datasources in its own order; all of the project's where it names none.

    Raises:
        ConfigError: one that the project does not have.
    """
    for name in plan.datasources or ():
        if name not in known:
            raise ConfigError(f"datasources: the project has no datasource '{name}'; {choices(name, list(known))}")
    return list(plan.datasources or known)


def _groups(project: Project, plan: Plan, known: Sequence[str]) -> Sequence[Sequence[str]] | None:
    """The plan's groups, or else the project's."""
    if plan.lm_groups is None:
        groups: Sequence[Sequence[str]] | None = project.database.setting("lm_groups")
        return groups
    for name in (ds for group in plan.lm_groups for ds in group):
        if name not in known:
            expected = f"datasources of the project; {choices(name, list(known))}"
            raise SettingsFailed([SettingProblem("lm_groups", plan.lm_groups, f"{expected}; found '{name}'")])
    return plan.lm_groups


def label_rules(
    plan: Plan,
    datasources: Sequence[str],
    groups: Sequence[Sequence[str]] | None = None,
    stages: Sequence[Plan] | None = None,
) -> LabelRules:
    """What a plan and the stages of its data say about labels, read; needs neither project nor data.

    Args:
        plan: resolved.
        datasources: of the plan, in its order.
        groups: label groups that count.
        stages: as for `label_flow`.

    Raises:
        SettingsFailed: every spelling that cannot be read, together.
    """
    found = _Collected()
    later = [stage for stage in stages or data_stages([plan]) if stage.mode in _READ_AT]
    crop = next((stage for stage in reversed(later) if _READ_AT[stage.mode] == "lbd"), Plan())
    stated = {"source": plan, "train": plan, "imported": crop, **{_READ_AT[stage.mode]: stage for stage in later}}
    remappings = {level: found.of(partial(_remapping, owner, level, datasources)) for level, owner in stated.items()}
    rules = LabelRules(
        groups=None if groups is None else tuple(tuple(group) for group in groups),
        baked=tuple(_READ_AT[stage.mode] for stage in later),
        remappings={level: by_ds for level, by_ds in remappings.items() if by_ds},
        importing=found.of(partial(importing_datasources, crop, datasources)) or (),
        merge_imported=crop.mode == "lbd" and crop.merge_imported_labels,
        imported_labels=found.of(partial(imported_labels, crop)),
        classes=found.of(partial(parse_classes, plan.classes)),
    )
    raise_for_settings(found.problems)
    return rules


class _Collected:
    """Problems of several readings, to be told together."""

    def __init__(self) -> None:
        self.problems: list[SettingProblem] = []

    def of(self, read: Callable[[], Read]) -> Read | None:
        try:
            return read()
        except SettingsFailed as error:
            self.problems += error.problems
            return None


def _remapping(plan: Plan, level: str, datasources: Sequence[str]) -> dict[str, Remapping | None] | None:
    key = f"remapping_{level}"
    value = getattr(plan, key)
    if value is None or value == UNSET:
        return None
    return parse_remapping(value, datasources, label_table(), 0 if level == "imported" else "keep", key)


def importing_datasources(plan: Plan, datasources: Sequence[str]) -> tuple[str, ...]:
    """Datasources that have a folder of imported label maps.

    Raises:
        SettingsFailed: a list of another length than that of the datasources.
    """
    folder = plan.imported_folder
    if isinstance(folder, Mapping):
        return tuple(ds for ds in datasources if folder.get(ds))
    if folder is None or isinstance(folder, str):
        return tuple(datasources) if folder else ()
    if len(folder) != len(datasources):
        expected = (
            f"one folder for all datasources, or a list with one (or null) for each of the {len(datasources)} "
            f"datasources ({', '.join(datasources)}), found a list of {len(folder)}"
        )
        raise SettingsFailed([SettingProblem("imported_folder", folder, expected)])
    return tuple(ds for ds, entry in zip(datasources, folder, strict=True) if entry)


def imported_labels(plan: Plan) -> frozenset[int] | None:
    """Values of the imported maps that count, before remapping_imported; None is all of them.

    Raises:
        SettingsFailed: neither values nor a name of the label table.
    """
    value = plan.imported_labels
    if value is None:
        return None
    if isinstance(value, str) and value.startswith("TSL."):
        try:
            return label_table().ids(value)
        except ConfigError as error:
            raise SettingsFailed([SettingProblem("imported_labels", value, str(error))]) from error
    values = [value] if isinstance(value, int | str) else list(value)
    if any(isinstance(v, bool) or not str(v).isdecimal() or int(v) < 1 for v in values):
        expected = "a list of label values, each 1 or more, or a name of the label table such as TSL.lungs"
        raise SettingsFailed([SettingProblem("imported_labels", value, expected)])
    return frozenset(int(v) for v in values)
