"""A datasource: a folder of images and label maps, with what is known about it beforehand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fran.datasources.judging import ScanSettings
from fran.datasources.layouts import Channel, Layout, default_name, recognise
from fran.datasources.naming import check_datasource_name, check_folder_name
from fran.datasources.pairing import IMAGES, LMS, Pairing, expected_title, pair_files
from fran.datasources.renaming import rename_duplicates, rename_files, volumes
from fran.datasources.repair import LABELS_FILE, Repair
from fran.datasources.rewriting import harmonise, relabel
from fran.datasources.scan import ScanReport, scan
from fran.errors import ConfigError, choices
from fran.io.files import read_json
from fran.io.places import scan_folder
from fran.labels import MAX_LABEL, Remapping
from fran.parallel.jobs import Execute
from fran.parallel.local import run_jobs

__all__ = ["DS_TYPES", "LABELS_FILE", "Datasource"]

DS_TYPES = ("full", "patch")


@dataclass(frozen=True)
class Datasource:
    """A folder with ``images/`` and ``lms/``, in which a pair has one file name; or one in a layout that others use.

    Args:
        folder: the datasource; it is only read.
        name: name in projects and plans; the folder's name where None.
        alias: first token of the file names, where it differs from the name; in another layout, what is put before
            the case ids.
        labels: label names by value. Where given, here or as ``<folder>/labels.json`` (``{"1": "kidney"}``), any other
            value is an error.
        modality: ``"CT"``, ``"MR"``, ``"PET"``, …; inferred a case where None.
        test: whether these cases are kept for testing.
        patient_pattern: regular expression searched in the image's file name; its first group, or else the whole
            match, is the patient. Equal patients of several datasources count as one.
        ds_type: ``"full"``, a file a case; or ``"patch"``, many files a case, each of which is then a case by the whole
            of its name, with the case it was cut from as its patient where no pattern says otherwise.
        annotated: labels, by value or name, whose structures the annotators drew wherever they saw them; what is not
            among them may be there without having been drawn. None means those in `labels`, or those met.
        channel: which of several images of a case is taken, by number or name; see `fran.datasources.layouts`.
        derivative: which of several kinds of label maps of a BIDS data set is taken, by a part of its name.

    Raises:
        ConfigError: an argument that cannot be used.
    """

    folder: Path
    name: str = ""
    alias: str | None = None
    labels: Mapping[int, str] | None = None
    modality: str | None = None
    test: bool = False
    patient_pattern: str | None = None
    ds_type: str = "full"
    annotated: Sequence[int | str] | None = None
    channel: Channel | None = None
    derivative: str | None = None

    def __post_init__(self) -> None:
        folder = Path(self.folder).expanduser().absolute()
        if not folder.is_dir():
            kind = "a file" if folder.exists() else "nothing"
            raise ConfigError(f"datasource folder: expected a folder with images/ and lms/, found {kind} at {folder}")
        object.__setattr__(self, "folder", folder)
        if self.layout is None:
            check_folder_name(folder)
        given = self.name or (None if self.layout is None else default_name(folder))
        for name in filter(None, (given or folder.name, self.alias)):
            check_datasource_name(name)
        labels = self._declared_labels() if self.labels is None else self.labels
        _check_pattern(self.patient_pattern)
        if self.ds_type not in DS_TYPES:
            raise ConfigError(f"datasource {folder}: ds_type: {choices(self.ds_type, DS_TYPES)}")
        if self.layout is None:
            object.__setattr__(
                self, "alias", self.alias or _other_title(folder, None if given == folder.name else given)
            )
        else:
            object.__setattr__(self, "modality", self.modality or self.layout.modality)
            if self.ds_type != "full":
                raise ConfigError(f"datasource {folder}: ds_type: expected full in the layout of {self.layout.kind}")
        object.__setattr__(self, "name", given or folder.name)
        object.__setattr__(self, "labels", None if labels is None else _checked_labels(labels, folder))
        if self.annotated is not None:
            object.__setattr__(self, "annotated", _checked_annotated(self.annotated, self.labels or {}, folder))

    @classmethod
    def from_spec(cls, spec: Datasource | Mapping[str, Any]) -> Datasource:
        """A datasource as it is, or from a dict with ``folder`` and, as in the old API, ``ds`` and ``alias``.

        Raises:
            ConfigError: a key is unknown, or ``folder`` is missing.
        """
        if isinstance(spec, Datasource):
            return spec
        arguments = {("name" if key == "ds" else str(key)): value for key, value in spec.items()}
        known = [f.name for f in fields(cls)]
        for key in arguments:
            if key not in known:
                raise ConfigError(f"datasource: unknown key '{key}'; {choices(key, [*known, 'ds'])}")
        if not arguments.get("folder"):
            raise ConfigError(f"datasource: expected a key 'folder', found {sorted(map(str, spec))}")
        return cls(**arguments | {"name": arguments.get("name") or ""})

    @cached_property
    def layout(self) -> Layout | None:
        """The layout of others that the folder has; None where it is fran's own."""
        return recognise(self.folder, self.channel, self.derivative)

    def _declared_labels(self) -> Mapping[Any, Any] | None:
        stated = _read_labels(self.folder)
        return self.layout.labels if stated is None and self.layout is not None else stated

    @property
    def title(self) -> str:
        """First token of every file name."""
        return self.alias or self.name

    def pairs(self) -> Pairing:
        """Match images with label maps by name, reading no volume."""
        if self.layout is None:
            return pair_files(self.folder, self.title, self.name, patches=self.ds_type == "patch")
        found = self.layout.pair(self.name, self.alias)
        found.problems[:0] = [replace(note, case_id=self.name) for note in self.layout.notes]
        return found

    def scan(
        self,
        store: Path | str,
        num_workers: int = 1,
        progress: bool = False,
        seed: int = 0,
        execute: Execute = run_jobs,
        strict: bool = False,
    ) -> ScanReport:
        """Check every case and keep its statistics in ``<store>/fg_voxels.h5``.

        Each raw file is read once. Files whose size and modification time did not change since the last scan are not
        opened; where only the time changed, the digest decides. Bad cases are reported all together, the good ones
        are stored.

        Args:
            store: folder of fran's own, made where missing.
            num_workers: processes; 1 reads in this one.
            progress: show a bar with rate and time left.
            seed: of the foreground samples.
            execute: where cases are read, see `fran.parallel.backends.backend`; local processes by default.
            strict: warnings keep a case out, as errors do.
        """
        settings = ScanSettings(self.name, self.folder, self.labels, self.modality, self.patient_pattern, seed, strict)
        return scan(settings, self.pairs(), Path(store), num_workers, progress, execute)

    def process(self, num_workers: int = 1, progress: bool = False) -> ScanReport:
        """`scan`, with the statistics in a folder of fran's own: ``<home>/scans/<name>_<place>/fg_voxels.h5``."""
        return self.scan(scan_folder(self.folder, self.name), num_workers, progress)

    def relabel(
        self,
        remapping: Mapping[int, int] | Remapping,
        out: Path | str | None = None,
        in_place: bool = False,
        progress: bool = False,
    ) -> Repair:
        """Write a copy with other label values; see `fran.datasources.rewriting.relabel`."""
        if in_place and self.layout is not None:
            raise ConfigError(f"in_place: nothing is written into a folder of {self.layout.kind}; leave it away")
        lms, images, others = self._files()
        labels = self.labels or {}
        return relabel(self.folder, lms, [*images, *others], remapping, labels, _path(out), in_place, progress)

    def harmonise(self, out: Path | str | None = None, progress: bool = False) -> Repair:
        """Write a copy whose label maps have the exact grids of their images; see `fran.datasources.rewriting`."""
        others = self._files()[2]
        return harmonise(self.folder, self.pairs().pairs, self.labels or {}, _path(out), others, progress)

    def rename_duplicates(self, out: Path | str | None = None) -> Repair:
        """Write a copy in which every case has an id of its own; see `fran.datasources.renaming`."""
        self._check_own_layout()
        return rename_duplicates(self.folder, _path(out))

    def rename_files(self, out: Path | str | None = None) -> Repair:
        """Write a copy whose file names keep the rule; see `fran.datasources.renaming`."""
        self._check_own_layout()
        return rename_files(self.folder, self.title, _path(out))

    def _files(self) -> tuple[list[Path], list[Path], list[Path]]:
        """Label maps, images, and whatever else another layout has."""
        if self.layout is None:
            return volumes(self.folder / LMS), volumes(self.folder / IMAGES), []
        pairs = self.pairs().pairs
        lms, images = [pair.lm for pair in pairs], [pair.image for pair in pairs]
        known = {*lms, *images, self.folder / LABELS_FILE}
        files = sorted(p for p in self.folder.rglob("*") if p.is_file() and p not in known)
        hidden = {p for p in files if any(part.startswith(".") for part in p.relative_to(self.folder).parts)}
        return lms, images, [path for path in files if path not in hidden]

    def _check_own_layout(self) -> None:
        if self.layout is not None:
            raise ConfigError(
                f"{self.folder}: expected fran's own layout, images/ and lms/, found that of {self.layout.kind}, whose "
                "names need not be mended; alias=<letters> puts letters before its case ids"
            )


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)


def _other_title(folder: Path, name: str | None) -> str | None:
    title = expected_title(folder, name, None)
    return title if title != (name or folder.name) else None


def _read_labels(folder: Path) -> Mapping[Any, Any] | None:
    path = folder / LABELS_FILE
    if not path.exists():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: expected {{"1": "kidney", …}}, found {type(content).__name__}')
    return content


def _checked_labels(labels: Mapping[Any, Any], folder: Path) -> dict[int, str]:
    where = f"datasource {folder}: labels"
    checked: dict[int, str] = {}
    for key, name in labels.items():
        try:
            value = int(key)
        except (TypeError, ValueError):
            raise ConfigError(
                f'{where}: expected whole numbers as keys, as in {{"1": "kidney"}}, found {key!r}'
            ) from None
        if not isinstance(name, str) or not name or not 0 <= value <= MAX_LABEL:
            raise ConfigError(f"{where}: expected a name for each value from 1 to {MAX_LABEL}, found {key!r}: {name!r}")
        if value:
            checked[value] = name
    if len(set(checked.values())) < len(checked):
        raise ConfigError(f"{where}: expected different names, found {checked}")
    return checked


def _checked_annotated(annotated: Sequence[int | str], labels: Mapping[int, str], folder: Path) -> tuple[int, ...]:
    """Values of the annotated labels, in increasing order."""
    where = f"datasource {folder}: annotated"
    if isinstance(annotated, str) or not isinstance(annotated, Sequence) or not annotated:
        raise ConfigError(f"{where}: expected a list of label values or names, found {annotated!r}")
    by_name = {name: value for value, name in labels.items()}
    values: set[int] = set()
    for item in annotated:
        value = by_name.get(item, item) if isinstance(item, str) else item
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, str):
            raise ConfigError(f"{where}: '{value}' is not among its labels; {choices(value, list(by_name))}")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LABEL:
            raise ConfigError(f"{where}: expected label values from 1 to {MAX_LABEL}, found {value!r}")
        values.add(value)
    return tuple(sorted(values))


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(f"patient_pattern: expected a regular expression, found {pattern!r}: {error}") from error
