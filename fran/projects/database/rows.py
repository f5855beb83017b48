"""Rows of cases.db as typed objects, and their way into and out of SQLite's types."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fran.errors import CaseProblem

CASE_COLUMNS = (
    *("case_id", "ds", "alias", "image", "lm", "img_symlink", "lm_symlink", "fold", "test", "labels"),
    *("has_foreground", "spacing", "size", "image_digest", "lm_digest", "patient", "modality"),
    *("image_content", "lm_content"),
)
SOURCE_COLUMNS = (
    *("name", "alias", "folder", "label_names", "annotated", "ds_type", "test", "modality", "patient_pattern"),
)
VERDICT_COLUMNS = ("case_id", "path", "what", "expected", "found", "next_step", "severity")


@dataclass(frozen=True)
class CaseRow:
    """One case of a project.

    Attributes:
        case_id: ``<title>_<case id>``, unique in the project.
        ds: name of the datasource.
        alias: first token of its file names, where it is not the name.
        image: raw file.
        lm: raw file.
        img_symlink: link to `image` in the project's raw folder.
        lm_symlink: link to `lm`.
        fold: validation fold; None until assigned, and for test cases.
        test: kept for testing.
        labels: voxels of each label value but 0.
        has_foreground: whether any voxel bears a label.
        spacing_mm: (x, y, z), RAS.
        size: voxels (x, y, z), RAS.
        image_digest: of the file's bytes.
        lm_digest: of the file's bytes.
        patient: never part in a split.
        modality: ``"CT"``, ``"MR"``, …
        image_content: digest of the decoded voxels; empty where it is not known.
        lm_content: digest of the decoded voxels; empty where it is not known.
    """

    case_id: str
    ds: str
    alias: str | None
    image: Path
    lm: Path
    img_symlink: Path
    lm_symlink: Path
    fold: int | None
    test: bool
    labels: Mapping[int, int]
    has_foreground: bool
    spacing_mm: tuple[float, float, float]
    size: tuple[int, int, int]
    image_digest: str
    lm_digest: str
    patient: str
    modality: str
    image_content: str = ""
    lm_content: str = ""


@dataclass(frozen=True)
class SourceRow:
    """One datasource of a project.

    Attributes:
        name: unique in the project.
        alias: first token of its file names, where it is not the name.
        folder: of the raw data.
        label_names: by value; empty where none were declared.
        annotated: values of the labels that its annotators drew wherever they saw them; None means all.
        ds_type: ``"full"``, or ``"patch"`` where a case is in many files.
        test: kept for testing.
        modality: as declared; None where it is inferred a case.
        patient_pattern: as declared.
    """

    name: str
    alias: str | None
    folder: Path
    label_names: Mapping[int, str]
    annotated: tuple[int | str, ...] | None = None
    ds_type: str = "full"
    test: bool = False
    modality: str | None = None
    patient_pattern: str | None = None


@dataclass(frozen=True)
class PlanRow:
    """One plan as it was resolved, with ``(key, folder)`` of each stage."""

    id: int
    name: str
    yaml: str
    stages: Mapping[str, tuple[str, str]]
    created_at: str


@dataclass(frozen=True)
class Verdict:
    """What `add_data` last found about a case, or about a whole datasource."""

    ds: str
    problem: CaseProblem


def dumped(content: Mapping[Any, Any]) -> str:
    """JSON of a mapping, equal for equal mappings."""
    return json.dumps({str(k): v for k, v in content.items()}, sort_keys=True)


def case_values(case: CaseRow) -> dict[str, Any]:
    """Parameters by column."""
    paths = {name: str(getattr(case, name)) for name in ("image", "lm", "img_symlink", "lm_symlink")}
    lists = {"labels": dumped(case.labels), "spacing": json.dumps(case.spacing_mm), "size": json.dumps(case.size)}
    rest = {c: getattr(case, c) for c in CASE_COLUMNS if c not in paths | lists}
    return paths | lists | rest


def case_row(row: sqlite3.Row) -> CaseRow:
    """Inverse of `case_values`."""
    values = {c: row[c] for c in CASE_COLUMNS if c != "spacing"}
    paths = {name: Path(row[name]) for name in ("image", "lm", "img_symlink", "lm_symlink")}
    flags = {name: bool(row[name]) for name in ("test", "has_foreground")}
    return CaseRow(
        **values
        | paths
        | flags
        | {"labels": _int_keys(row["labels"]), "spacing_mm": tuple(json.loads(row["spacing"]))}
        | {"size": tuple(json.loads(row["size"]))}
    )


def source_values(source: SourceRow) -> dict[str, Any]:
    """Parameters by column."""
    annotated = None if source.annotated is None else json.dumps(list(source.annotated))
    special = {"folder": str(source.folder), "label_names": dumped(source.label_names), "annotated": annotated}
    return {c: getattr(source, c) for c in SOURCE_COLUMNS} | special


def source_row(row: sqlite3.Row) -> SourceRow:
    """Inverse of `source_values`."""
    values = {c: row[c] for c in SOURCE_COLUMNS}
    annotated = None if row["annotated"] is None else tuple(json.loads(row["annotated"]))
    names = _int_keys(row["label_names"])
    special = {"folder": Path(row["folder"]), "label_names": names, "annotated": annotated, "test": bool(row["test"])}
    return SourceRow(**values | special)


def plan_row(row: sqlite3.Row) -> PlanRow:
    """A row of master_plans."""
    stages = {stage: (key, folder) for stage, (key, folder) in json.loads(row["stages"]).items()}
    return PlanRow(row["id"], row["name"], row["yaml"], stages, row["created_at"])


def verdict(row: sqlite3.Row) -> Verdict:
    """A row of verdicts."""
    return Verdict(row["ds"], CaseProblem(*(row[c] for c in VERDICT_COLUMNS)))


def verdict_values(ds: str, problem: CaseProblem) -> dict[str, str]:
    """Parameters by column."""
    return {"ds": ds} | {c: getattr(problem, c) for c in VERDICT_COLUMNS}


def _int_keys(text: str) -> dict[int, Any]:
    return {int(k): v for k, v in sorted(json.loads(text).items(), key=lambda item: int(item[0]))}
