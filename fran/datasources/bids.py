"""BIDS data sets whose label maps are among the derivatives, read in place.

``sub-01/anat/sub-01_run-1_T1w.nii.gz`` goes with ``derivatives/manual/sub-01/anat/sub-01_run-1_dseg.nii.gz``: a label
map belongs to the image of its subject and session that has all of its other entities (``run-1``, ``acq-low``, …), but
for those that say what the label map is (``desc-``, ``label-``, ``space-``, …).
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.datasources.layouts import Channel, Layout, case_ids, default_name, patient_of
from fran.datasources.pairing import Pair, Pairing, lone_file, problem_of
from fran.errors import CaseProblem, ConfigError
from fran.io.volume import EXTENSIONS, stem

DERIVATIVES = "derivatives"
_LABEL_MAPS = ("dseg", "mask")
_OF_THE_MAP = ("desc", "label", "space", "atlas", "seg", "res", "den")
_OF_THE_SCAN = ("sub", "ses")


@dataclass(frozen=True)
class _File:
    """A file name in its parts: ``sub-01_run-2_T1w`` has the entities sub and run, and the suffix T1w.

    Parts without a value, as in ``sub-01_T1w_dseg``, are entities too: they name the suffix of the image that is meant.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def name(self) -> str:
        """Without the suffix."""
        return stem(self.path).removesuffix(f"_{self.suffix}")

    @property
    def properties(self) -> dict[str, str]:
        """What a label map may ask of an image: its entities, and its suffix."""
        return {**self.entities, self.suffix: ""}

    @property
    def of_the_scan(self) -> dict[str, str]:
        """Entities but those that say what a label map is."""
        return {key: value for key, value in self.entities.items() if key not in _OF_THE_MAP}


def is_one(folder: Path) -> bool:
    """Whether a folder is laid out like this."""
    return any(path.is_dir() for path in folder.glob("sub-*"))


def layout(folder: Path, channel: Channel | None, derivative: str | None) -> Layout:
    """What the folder is and says.

    Args:
        folder: with ``sub-*`` and ``derivatives``.
        channel: suffix of the images, such as ``T1w``.
        derivative: part of what tells the wanted label maps from others, such as ``manual`` or ``desc-lesion``.

    Raises:
        ConfigError: there is more than one kind of images or of label maps, and no choice, or a table of labels that
            cannot be read.
    """
    images = _volumes(folder.glob("sub-*"))
    suffixes = Counter(image.suffix for image in images if image.suffix not in _LABEL_MAPS)
    suffix = _chosen(folder, "channel", "images", suffixes, None if channel is None else str(channel))
    lms = [lm for lm in _volumes([folder / DERIVATIVES]) if lm.suffix in _LABEL_MAPS]
    kinds = Counter(_kind(folder, lm) for lm in lms)
    kind = _chosen(folder, "derivative", f"label maps in {DERIVATIVES}/", kinds, derivative, part=True)
    images = [image for image in images if image.suffix == suffix]
    lms = [lm for lm in lms if _kind(folder, lm) == kind]
    prefix = default_name(folder).lower()
    where = f"images sub-*/…_{suffix}.*, label maps {DERIVATIVES}/{kind.replace('/', '/…_')}.*"
    example = f", cases are called like {prefix}_{images[0].name}" if images else ""
    naming = f"{where}; {len(images)} images of {len({i.entities['sub'] for i in images})} patients{example}"

    def pair(source: str, alias: str | None) -> Pairing:
        return _pair(folder, images, lms, source, alias or prefix)

    return Layout("BIDS", naming, _labels(folder, kind, lms), _modality(suffix), (), pair)


def _volumes(folders: Iterable[Path]) -> list[_File]:
    paths = [p for folder in folders for p in folder.rglob("sub-*_*") if p.name.lower().endswith(EXTENSIONS)]
    return [_parsed(path) for path in sorted(paths)]


def _parsed(path: Path) -> _File:
    *tokens, suffix = stem(path).split("_")
    parts = (token.partition("-") for token in tokens)
    return _File(path, {key: value for key, _, value in parts}, suffix)


def _kind(folder: Path, lm: _File) -> str:
    """What tells label maps from others: the pipeline, and the entities that are not the scan's."""
    pipeline = lm.path.relative_to(folder / DERIVATIVES).parts[0]
    own = [f"{key}-{value}" for key, value in lm.entities.items() if key in _OF_THE_MAP]
    return f"{pipeline}/" + "_".join([*own, lm.suffix])


def _chosen(
    folder: Path, setting: str, what: str, found: Mapping[str, int], wanted: str | None, part: bool = False
) -> str:
    """The one kind that there is, or that is wanted: by its name, by its pipeline, or by a part of it."""
    fitting = list(found)
    if wanted is not None:
        named = [[k for k in found if k == wanted], [k for k in found if part and k.partition("/")[0] == wanted]]
        fitting = next(filter(None, named), [k for k in found if part and wanted in k])
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{kind} ({n})" for kind, n in sorted(found.items())) or "none"
    if not found:
        raise ConfigError(f"{folder}: expected {what} of a BIDS data set, found none; fran learns from pairs of both")
    if wanted is None:
        choice = f"choose one with {setting}={min(found)}"
        raise ConfigError(f"{folder}: expected {what} of one kind, found {listed}; {choice}")
    raise ConfigError(f"{setting}: expected one kind of {what} for '{wanted}', found {len(fitting)} of {listed}")


def _modality(suffix: str) -> str:
    return suffix.upper() if suffix.lower() in ("ct", "pet") else "MR"


def _pair(folder: Path, images: Sequence[_File], lms: Sequence[_File], source: str, prefix: str) -> Pairing:
    result = Pairing()
    ids = case_ids([image.name for image in images], prefix)
    found: dict[str, list[_File]] = defaultdict(list)
    unclear: set[str] = set()
    by_scan: dict[tuple[str, ...], list[_File]] = defaultdict(list)
    images, doubled = _single(images)
    result.problems += doubled
    for image in images:
        by_scan[_scan(image)].append(image)
    for lm in lms:
        fitting = [image for image in by_scan[_scan(lm)] if lm.of_the_scan.items() <= image.properties.items()]
        if len(fitting) == 1:
            found[fitting[0].name].append(lm)
        else:
            unclear |= {image.name for image in fitting}
            result.problems.append(_without_image(lm, fitting))
    for image in images:
        result.problems += _image_problems(folder, image, ids[image.name], found[image.name], image.name in unclear)
        if len(found[image.name]) == 1:
            patient = patient_of(folder, f"sub-{image.entities['sub']}")
            result.pairs.append(Pair(ids[image.name], patient, image.path, found[image.name][0].path, folder))
    if not result.pairs:
        step = "name label maps as their image, but for the suffix and desc-, label-, space-"
        result.problems.append(problem_of(source, folder, "pairs", "label maps of the images", "none", step))
    return result


def _single(images: Sequence[_File]) -> tuple[list[_File], list[CaseProblem]]:
    """Images whose name is theirs alone, and problems of those that are there in two formats."""
    groups: dict[str, list[_File]] = defaultdict(list)
    for image in images:
        groups[image.name].append(image)
    problems = []
    for name, group in groups.items():
        if len(group) > 1:
            found = " and ".join(str(image.path) for image in group)
            step = "move all but one out"
            problems.append(problem_of(name, group[0].path, "case name", "one file of a name", found, step))
    return [group[0] for group in groups.values() if len(group) == 1], problems


def _scan(file: _File) -> tuple[str, ...]:
    return tuple(file.entities.get(key, "") for key in _OF_THE_SCAN)


def _without_image(lm: _File, fitting: Sequence[_File]) -> CaseProblem:
    if not fitting:
        return lone_file(lm.name, lm.path, "label map without image", "with the same entities")
    found = f"{len(fitting)}: {', '.join(image.path.name for image in fitting[:3])}" + ", …" * (len(fitting) > 3)
    step = "give it the entity, such as run-1, that tells its image from the others"
    return problem_of(lm.name, lm.path, "label map of several images", "one image that it fits", found, step)


def _image_problems(
    folder: Path, image: _File, case_id: str, lms: Sequence[_File], unclear: bool
) -> Iterator[CaseProblem]:
    if len(lms) > 1:
        found = " and ".join(str(lm.path) for lm in lms)
        yield problem_of(case_id, lms[0].path, "case name", "one label map an image", found, "move all but one out")
    elif not lms and not unclear:  # derivatives of a part of the subjects are common
        partner = f"in {folder / DERIVATIVES}"
        yield lone_file(case_id, image.path, "image without label map", partner, "warning")


def _labels(folder: Path, kind: str, lms: Sequence[_File]) -> dict[int, str] | None:
    """Names by value: from the tables that apply to the label maps, or that of the structure that a mask is of."""
    if lms[0].suffix == "mask":
        own = dict(token.partition("-")[::2] for token in kind.partition("/")[2].split("_")[:-1])
        return {1: own.get("label") or own.get("desc") or "mask"}
    tables: dict[Path, list[_File]] = defaultdict(list)
    for path in (*folder.glob("*dseg.tsv"), *(folder / DERIVATIVES / kind.partition("/")[0]).rglob("*dseg.tsv")):
        tables[path.parent].append(_parsed(path.with_suffix("")))
    names: dict[int, str] = {}
    first: dict[int, Path] = {}
    for path in dict.fromkeys(path for lm in lms for path in _table_of(lm, tables)):
        for value, name in _table(path).items():
            if names.setdefault(value, name) != name:
                wanted = f"'{names[value]}' as in {first[value]}"
                raise ConfigError(f"{path}: label {value}: expected {wanted}, found '{name}'")
            first.setdefault(value, path)
    return names or None


def _table_of(lm: _File, tables: Mapping[Path, Sequence[_File]]) -> list[Path]:
    """BIDS' rule of inheritance: the nearest table in a folder above that asks for none but the map's entities."""
    for folder in lm.path.parents:
        fitting = [t for t in tables.get(folder, ()) if t.entities.items() <= lm.entities.items()]
        if fitting:
            nearest = max(fitting, key=lambda t: (len(t.entities), t.path.name))
            return [nearest.path.with_name(nearest.path.name + ".tsv")]
    return []


def _table(path: Path) -> dict[int, str]:
    """Names by value of a dseg.tsv, background left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        return {int(row["index"]): row["name"] for row in rows if int(row["index"])}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ConfigError(f"{path}: expected columns index and name, found {error!r}") from error
