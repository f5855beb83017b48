"""global_properties.json: computed from the statistics of the training cases, and only where those have changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fran.datasources.records import CaseArrays, CaseFacts
from fran.datasources.store import read_arrays, read_facts
from fran.errors import StoreError
from fran.io.files import read_json, write_json
from fran.projects.database import CaseRow
from fran.projects.folders import ProjectFolders
from fran.projects.pooling import SAMPLE_VOXELS, pooled
from fran.projects.properties import PropertyCase, global_properties, inputs_digest


def maybe_store(
    folders: ProjectFolders,
    cases: Sequence[CaseRow],
    mapping: Mapping[str, Mapping[int, int]],
    label_names: Mapping[int, str],
) -> dict[str, Any]:
    """Global properties of the training cases `cases`, computed unless those on disk are of the same cases.

    Args:
        folders: of the project.
        cases: training cases.
        mapping: for each datasource, output value by value in its files.
        label_names: by value of the output.

    Raises:
        StoreError: the statistics of a case are missing.
        DataError: no case has foreground.
    """
    named = {v: label_names[v] for case in cases for v in _output_labels(case, mapping)}
    digest = inputs_digest((c.case_id, c.image_digest, c.lm_digest, c.modality) for c in cases)
    path = folders.global_properties
    stored = read_json(path) if path.exists() else {}
    if stored.get("inputs") != digest or stored.get("label_names") != {str(v): n for v, n in named.items()}:
        stored = _compute(folders, cases, mapping, label_names) | {"inputs": digest}
        write_json(path, stored)
    return dict(stored)


def stored(folders: ProjectFolders) -> dict[str, Any]:
    """Global properties as stored.

    Raises:
        StoreError: they were never computed.
    """
    path = folders.global_properties
    if not path.exists():
        raise StoreError(
            f"{path}: expected the project's global properties, found none; "
            f"fran project properties project={folders.title}  (in Python: maybe_store_projectwide_properties())"
        )
    return dict(read_json(path))


def _output_labels(case: CaseRow, mapping: Mapping[str, Mapping[int, int]]) -> dict[int, int]:
    """Voxels by value of the output."""
    return {mapping[case.ds][value]: n for value, n in case.labels.items()}


def _compute(
    folders: ProjectFolders,
    cases: Sequence[CaseRow],
    mapping: Mapping[str, Mapping[int, int]],
    label_names: Mapping[int, str],
) -> dict[str, Any]:
    facts: dict[str, CaseFacts] = {}
    for ds in {case.ds for case in cases}:
        facts |= read_facts(folders.statistics(ds))
    missing = [case.case_id for case in cases if case.case_id not in facts]
    if missing:
        raise StoreError(
            f"project {folders.title}: expected statistics of every training case, found none for "
            f"{', '.join(missing[:10])}; run fran init (add_data) again for their datasource"
        )
    measured = [
        PropertyCase(
            *(c.case_id, c.ds, c.modality, c.spacing_mm, c.size),
            labels=_output_labels(c, mapping),
            foreground=facts[c.case_id].foreground,
        )
        for c in cases
    ]
    sources = {case.case_id: case.ds for case in cases}
    limit = SAMPLE_VOXELS // max(len(cases), 1)

    def read(case_ids: Sequence[str]) -> Iterator[tuple[str, CaseArrays]]:
        for ds in sorted({sources[c] for c in case_ids}):
            yield from read_arrays(folders.statistics(ds), [c for c in case_ids if sources[c] == ds], limit)

    contents = {c.case_id: f"{c.image_digest} {c.lm_digest}" for c in cases}
    return global_properties(measured, pooled(contents, read, folders.pool), label_names)
