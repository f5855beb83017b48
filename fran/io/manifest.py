"""The list of a stage's case files: what training reads and what a rerun compares itself with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fran.errors import StoreError
from fran.io.casefile import CaseReader
from fran.io.files import read_json, write_json

MANIFEST_NAME = "manifest.json"
FORMAT = 1


@dataclass
class ManifestEntry:
    """One file of a stage: a case, or a part of one.

    Attributes:
        file: name of the case file, relative to the manifest's folder.
        key: content address of the case.
        bytes: size of the file.
        shape: (x, y, z) voxels.
        spacing_mm: (x, y, z).
        labels: label value → voxel count, 0 left out.
        intensity: statistics in raw units, see :func:`fran.io.intensity.intensity_statistics`.
        modality: "CT", "MR", ...
        datasource: name of the datasource the case came from.
        parent: the project's case id, where the file is one of several of a case; else empty.
    """

    file: str
    key: str
    bytes: int
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    labels: dict[int, int]
    intensity: dict[str, float]
    modality: str
    datasource: str
    parent: str = ""

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> ManifestEntry:
        """From its JSON form, in which tuples are lists and label values strings."""
        plain = dict(d)
        plain["shape"] = tuple(int(v) for v in d["shape"])
        plain["spacing_mm"] = tuple(float(v) for v in d["spacing_mm"])
        plain["labels"] = {int(k): int(v) for k, v in d["labels"].items()}
        return cls(**plain)


@dataclass
class Manifest:
    """All case files of one stage.

    Attributes:
        folder: where the manifest and its case files lie; not stored, so that the folder can be moved.
        stage: name of the stage, e.g. "source".
        params: parameters the stage was run with.
        key: content address of stage and parameters.
        cases: file id → entry. A file's id is the case's, or for one of several files of a case ``<case id>_<n>``.
    """

    folder: Path
    stage: str
    params: dict[str, Any]
    key: str
    cases: dict[str, ManifestEntry] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read ``<folder>/manifest.json``.

        Raises:
            StoreError: it is missing or not a manifest.
        """
        path = Path(folder) / MANIFEST_NAME
        if not path.is_file():
            raise StoreError(
                f"No {MANIFEST_NAME} in {folder}: expected a preprocessed folder; run `fran preprocess` first."
            )
        try:
            plain = read_json(path)
            if plain["format"] != FORMAT:
                raise ValueError(f"format {plain['format']} instead of {FORMAT}")
            cases = {case_id: ManifestEntry.from_dict(entry) for case_id, entry in plain["cases"].items()}
            return cls(Path(folder), plain["stage"], plain["params"], plain["key"], cases)
        except (StoreError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{path} cannot be read as a manifest ({error!r});"
                " run `fran preprocess` again, it adopts the case files that are whole."
            ) from error

    def save(self) -> None:
        """Write the manifest atomically; equal content gives equal bytes whatever order it was filled in."""
        entries = {case_id: asdict(self.cases[case_id]) for case_id in sorted(self.cases)}
        plain = {"format": FORMAT, "stage": self.stage, "params": self.params, "key": self.key, "cases": entries}
        write_json(self.folder / MANIFEST_NAME, plain)

    def digest(self) -> str:
        """32 hexadecimal digits that change when the stage or any case's content address changes."""
        content = [self.stage, self.key, sorted((case_id, entry.key) for case_id, entry in self.cases.items())]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def files_by_case(self) -> dict[str, list[str]]:
        """The project's case id → ids of its files, both in ascending order.

        Example:
            >>> entries = {"k1_1": "k1", "k1_0": "k1", "k0": ""}
            >>> make = lambda parent: ManifestEntry("", "", 0, (1, 1, 1), (1, 1, 1), {}, {}, "CT", "kits", parent)
            >>> Manifest(Path(), "pbd", {}, "", {k: make(p) for k, p in entries.items()}).files_by_case()
            {'k0': ['k0'], 'k1': ['k1_0', 'k1_1']}
        """
        found: dict[str, list[str]] = {}
        for file_id in sorted(self.cases):
            found.setdefault(self.cases[file_id].parent or file_id, []).append(file_id)
        return {case_id: found[case_id] for case_id in sorted(found)}

    def path(self, case_id: str) -> Path:
        """File of one id.

        Raises:
            StoreError: the manifest does not list the case.
        """
        if case_id not in self.cases:
            known = ", ".join(sorted(self.cases)[:10]) or "none"
            raise StoreError(
                f"Case {case_id!r} is not in {self.folder / MANIFEST_NAME} ({len(self.cases)} cases: {known} ...);"
                " add it to the project and run `fran preprocess`."
            )
        return self.folder / self.cases[case_id].file

    def reader(self, case_id: str) -> CaseReader:
        """Reader of one case's file; opens nothing yet."""
        return CaseReader(self.path(case_id))
