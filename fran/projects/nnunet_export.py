"""A project as a data set of nnU-Net v2: links to the raw files where they fit, label maps with consecutive values."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fran.datasources.dataset_json import modality_of
from fran.datasources.nnunet import channel_name
from fran.errors import CaseProblem, CasesFailed, ConfigError
from fran.io.files import write_json
from fran.io.volume import decode, read_native_grid, read_volume, stem, write_image, write_label_map
from fran.labels import LabelFlow, LabelRules, resolve_labels
from fran.parallel.jobs import Failure
from fran.parallel.local import run_jobs
from fran.parallel.progress import shown
from fran.projects.database import CaseRow
from fran.projects.project import Project
from fran.projects.source_labels import source_labels
from fran.projects.splits_file import FILE, write_splits

RECORD = "fran_export.json"
_NAME = re.compile(r"Dataset(\d{3})_[A-Za-z0-9_]+")
_SAME_AFFINE = 1e-5


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: the data set.
        n_training: cases in imagesTr.
        n_test: cases in imagesTs.
        converted: what was written anew instead of linked, one line a file.
        labels: name by value.
        warnings: what nnU-Net will take otherwise than fran does.
    """

    folder: Path
    n_training: int
    n_test: int
    converted: tuple[str, ...]
    labels: Mapping[int, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """One case: its raw files, the files to make, and new label values by raw ones."""

    case: CaseRow
    image: Path
    lm: Path
    values: Mapping[int, int]
    names: Mapping[int, str]


def export_nnunet(
    project: Project,
    folder: Path,
    datasources: Sequence[str] | None = None,
    num_workers: int = 1,
    progress: bool = False,
) -> Export:
    """Write imagesTr, labelsTr, imagesTs, labelsTs, dataset.json, splits_final.json and a record of what became what.

    Labels are those of the project, after its label groups, in nnU-Net's consecutive numbers. A case is called by its
    id. The folder appears under its name when all is written, and not at all otherwise.

    Args:
        project: to export; its training cases have folds.
        folder: the data set to write, ``…/Dataset501_Name``.
        datasources: names of those to export; None is all.
        num_workers: processes that convert.
        progress: show on stderr how many cases are done.

    Raises:
        ConfigError: the name cannot be nnU-Net's, the folder exists, or the data cannot be one data set of nnU-Net's.
        CasesFailed: raw files that cannot be read.
    """
    folder = folder.expanduser().absolute()
    _check_folder(folder)
    cases = [case for case in project.cases() if datasources is None or case.ds in datasources]
    training = [case for case in cases if not case.test]
    folds = sorted({case.fold for case in training if case.fold is not None})
    splits = [project.split(fold, datasources) for fold in folds or [0]]  # without folds this says what to do
    channel = _channel(cases)
    flow = _flow(project, cases)
    names = dict(enumerate(flow.scheme.channel_names))
    ending = Counter(_ending(case.image) for case in cases).most_common(1)[0][0]
    temporary = folder.with_name(f".tmp-{os.getpid()}-{folder.name}")
    try:
        tasks = [_task(case, temporary, ending, flow, names) for case in cases]
        converted = _converted(tasks, num_workers, progress)
        content = _dataset_json(folder.name.partition("_")[2], channel, names, len(training), ending)
        write_json(temporary / "dataset.json", content)
        write_splits(temporary / FILE, splits)
        write_json(temporary / RECORD, _record(project, flow, cases, splits[0].digest, converted))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    said = tuple(line for lines in converted.values() for line in lines)
    return Export(folder, len(training), len(cases) - len(training), said, names, tuple(_warnings(flow)))


def _check_folder(folder: Path) -> None:
    match = _NAME.fullmatch(folder.name)
    if match is None:
        raise ConfigError(
            f"output: expected a folder called as nnU-Net wants it, Dataset<three digits>_<Name>, found '{folder.name}'"
            f"; for example {folder / 'Dataset501_Name'}"
        )
    if folder.exists() or folder.is_symlink():
        raise ConfigError(
            f"output: expected a folder that is not there yet, found {folder}; remove it, or name another"
        )
    others = sorted(p.name for p in folder.parent.glob(f"Dataset{match[1]}_*")) if folder.parent.is_dir() else []
    if others:
        raise ConfigError(f"output: number {match[1]} is taken by {others[0]} in {folder.parent}; take another")


def _channel(cases: Sequence[CaseRow]) -> str:
    """Name of the one channel, by which nnU-Net chooses how intensities are normalised: CT, or anything else.

    That of the data set of nnU-Net's which the images are from, else their modality.
    """
    found = sorted({case.modality for case in cases})
    if "CT" in found and len(found) > 1:
        raise ConfigError(
            f"datasources: expected CT alone or none, for nnU-Net normalises every image of a channel alike, found "
            f"{', '.join(found)}; export some of them: datasources=[…]"
        )
    one_of_each = {(case.ds, case.modality): case for case in cases}.values()
    return "_".join(sorted({_channel_of(case) for case in one_of_each}))


def _channel_of(case: CaseRow) -> str:
    name = channel_name(case.image)
    return name if name and modality_of(name) == case.modality else case.modality


def _flow(project: Project, cases: Sequence[CaseRow]) -> LabelFlow:
    used = {case.ds for case in cases}
    sources = {name: source for name, source in project.database.sources().items() if name in used}
    groups = [[ds for ds in group if ds in used] for group in project.database.setting("lm_groups") or []]
    kept = tuple(tuple(group) for group in groups if group)
    return resolve_labels(source_labels(cases, sources), LabelRules(groups=kept or None))


def _task(case: CaseRow, folder: Path, ending: str, flow: LabelFlow, names: Mapping[int, str]) -> _Task:
    images, lms = ("imagesTs", "labelsTs") if case.test else ("imagesTr", "labelsTr")
    values = {row.raw: row.channel for row in flow.describe() if row.datasource == case.ds}
    image = folder / images / f"{case.case_id}_0000{ending}"
    return _Task(case, image, folder / lms / f"{case.case_id}{ending}", values, names)


def _converted(tasks: Sequence[_Task], num_workers: int, progress: bool) -> dict[str, list[str]]:
    """Make the files of every case; what was not linked, by case."""
    found: dict[str, list[str]] = {}
    problems = []
    for index, result in shown(run_jobs(_export_case, tasks, num_workers), len(tasks), "export", progress):
        case = tasks[index].case
        if isinstance(result, Failure):
            step = "mend or restore it; fran check names what is wrong"
            expected = "a pair that can be read"
            problems.append(CaseProblem(case.case_id, str(case.image), "raw files", expected, result.message, step))
        elif result:
            found[case.case_id] = result
    if problems:
        raise CasesFailed(f"{len(problems)} of {len(tasks)} cases cannot be exported", problems)
    return dict(sorted(found.items()))


def _export_case(task: _Task) -> list[str]:
    """Link what fits, write the rest anew; one line for each file that was written."""
    for path in (task.image, task.lm):
        path.parent.mkdir(parents=True, exist_ok=True)
    said = []
    grid = read_native_grid(task.case.image)
    if _ending(task.case.image) == _ending(task.image):
        task.image.symlink_to(task.case.image.resolve())
    else:
        image = decode(task.case.image)
        write_image(task.image, image.array, image.native)
        said.append(f"{task.image.parent.name}/{task.image.name}: from {task.case.image.name}")
    reasons = []
    changed = {old: task.values.get(old, 0) for old in task.case.labels if task.values.get(old, 0) != old}
    if changed:
        reasons.append(", ".join(f"{old} -> {new}" for old, new in sorted(changed.items())))
    if _ending(task.case.lm) != _ending(task.lm):
        reasons.append(f"from {task.case.lm.name}")
    other = read_native_grid(task.case.lm)
    if other.shape != grid.shape or np.abs(other.affine - grid.affine).max() > _SAME_AFFINE:
        reasons.append("on the image's grid")
    if reasons:
        lm = read_volume(task.case.lm, role="lm").array
        table = np.zeros(int(lm.max()) + 1, np.uint8 if max(task.names) <= 255 else np.uint16)
        for old in task.case.labels:
            table[old] = task.values.get(old, 0)
        write_label_map(task.lm, table[lm], grid, {v: n for v, n in task.names.items() if v})
        said.append(f"{task.lm.parent.name}/{task.lm.name}: {', '.join(reasons)}")
    else:
        task.lm.symlink_to(task.case.lm.resolve())
    return said


def _ending(path: Path) -> str:
    return path.name[len(stem(path)) :]


def _dataset_json(name: str, channel: str, names: Mapping[int, str], n_training: int, ending: str) -> dict[str, Any]:
    return {
        "name": name,
        "channel_names": {"0": channel},
        "labels": {name: value for value, name in names.items()},
        "numTraining": n_training,
        "file_ending": ending,
    }


def _record(
    project: Project, flow: LabelFlow, cases: Sequence[CaseRow], digest: str, converted: Mapping[str, list[str]]
) -> dict[str, Any]:
    """What became what: labels, files, folds."""
    labels = [
        {"value": channel, "name": name, "output": value, "origins": [list(o) for o in flow.origin(value)]}
        for channel, (value, name) in enumerate(flow.scheme.names.items(), start=1)
    ]
    files = {case.case_id: {"image": str(case.image), "lm": str(case.lm)} for case in cases}
    return {"project": project.title, "folds": digest, "labels": labels, "cases": files, "converted": dict(converted)}


def _warnings(flow: LabelFlow) -> list[str]:
    return [
        f"{ds} does not annotate {', '.join(flow.scheme.names[v] for v in values)}: nnU-Net teaches them as background "
        "in its cases, which fran does not"
        for ds, values in flow.unannotated.items()
        if values
    ]
