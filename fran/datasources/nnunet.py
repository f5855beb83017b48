"""Folders of nnU-Net (v1, v2) and of the Medical Segmentation Decathlon, read in place.

nnU-Net keeps each channel of a case in a file of its own, ``imagesTr/la_003_0000.nii.gz``, beside
``labelsTr/la_003.nii.gz``; the decathlon has one file a case, named as its label map. The case is called ``la_003``.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.datasources.dataset_json import FILE, DatasetJson, modality_of, read_dataset_json
from fran.datasources.layouts import Channel, Layout, case_ids, patient_of
from fran.datasources.pairing import Pair, Pairing, lone_file, no_volume, problem_of
from fran.errors import CaseProblem, ConfigError, Severity, choices
from fran.io.volume import EXTENSIONS, stem

IMAGES, LABELS, TEST_IMAGES = "imagesTr", "labelsTr", "imagesTs"
_NUMBERED = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class _Files:
    """What lies in the folder.

    Attributes:
        images: by case name, then by channel.
        lms: by case name.
        numbered: whether names of images end with a channel's number.
        strangers: files that are no volumes.
    """

    images: Mapping[str, Mapping[int, Sequence[Path]]]
    lms: Mapping[str, Sequence[Path]]
    numbered: bool
    strangers: Sequence[Path]


def is_one(folder: Path) -> bool:
    """Whether a folder is laid out like this."""
    listed = (folder / FILE).is_file() and (folder / LABELS).is_dir()
    return (folder / IMAGES).is_dir() or listed


def channel_name(image: Path) -> str | None:
    """What the dataset.json of such a folder calls the channel that an image is; None for an image of other folders."""
    path = image.parent.parent / FILE
    if image.parent.name != IMAGES or not path.is_file():
        return None
    channels = read_dataset_json(path).channels
    match = _NUMBERED.fullmatch(stem(image))
    return channels.get(int(match[2]) if match and len(channels) > 1 else min(channels, default=0))


def layout(folder: Path, channel: Channel | None) -> Layout:
    """What the folder is and says.

    Raises:
        ConfigError: dataset.json cannot be read, or the images have several channels and none was chosen.
    """
    path = folder / FILE
    stated = read_dataset_json(path) if path.is_file() else DatasetJson()
    files = _listed(folder) if stated.entries is None else _stated(folder, stated.entries)
    number = _chosen(folder, stated, files, channel)
    image = f"<case>_{number:04d}" if files.numbered else "<case>"
    kind = f"nnU-Net v{stated.version}" if files.numbered else "Medical Segmentation Decathlon"
    where = f"images {IMAGES}/{image}.*, label maps {LABELS}/<case>.*"
    names = sorted(files.images.keys() | files.lms.keys())
    naming = f"{where}; {len(names)} cases under the names that they have there" + (f": {names[0]}, …" if names else "")

    def pair(source: str, prefix: str | None) -> Pairing:
        return _pair(folder, stated, files, number, source, prefix)

    modality = modality_of(stated.channels.get(number))
    return Layout(kind, naming, stated.labels, modality, tuple(_notes(folder, stated, files)), pair)


def _listed(folder: Path) -> _Files:
    images, strangers = _volumes(folder / IMAGES)
    lms, others = _volumes(folder / LABELS)
    known = {stem(path) for path in lms}
    parted = {path: m for path in images if (m := _NUMBERED.fullmatch(stem(path)))}
    # the decathlon has a few four-digit case numbers too: what fits the label maps decides
    numbered = sum(m[1] in known for m in parted.values()) >= sum(stem(path) in known for path in images)
    numbered = numbered and bool(parted)
    by_case: dict[str, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in images:
        match = parted.get(path) if numbered else None
        by_case[match[1] if match else stem(path)][int(match[2]) if match else 0].append(path)
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in lms:
        by_name[stem(path)].append(path)
    return _Files(by_case, by_name, numbered, [*strangers, *others])


def _volumes(folder: Path) -> tuple[list[Path], list[Path]]:
    """Volumes of a folder, and other files; hidden ones, which macOS leaves beside each file, are passed over."""
    paths = sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    volumes = [path for path in paths if path.name.lower().endswith(EXTENSIONS)]
    return volumes, [path for path in paths if path not in volumes]


def _stated(folder: Path, entries: Mapping[str, tuple[Sequence[str], str]]) -> _Files:
    """Files that dataset.json lists by case, wherever they are."""
    images = {name: {n: [_place(folder, file)] for n, file in enumerate(files)} for name, (files, _) in entries.items()}
    return _Files(images, {name: [_place(folder, lm)] for name, (_, lm) in entries.items()}, True, [])


def _place(folder: Path, file: str) -> Path:
    return Path(os.path.normpath(folder / os.path.expandvars(file)))


def _chosen(folder: Path, stated: DatasetJson, files: _Files, channel: Channel | None) -> int:
    """Number of the channel to read."""
    path = folder / FILE
    if not files.numbered and len(stated.channels) > 1:
        raise ConfigError(
            f"{path}: expected images of one channel, found {_named(stated.channels)} together in 4-D files; split "
            "them into files of their own (nnUNetv2_convert_MSD_dataset does so), then give the result and channel=0"
        )
    channels = stated.channels or {n: "" for case in files.images.values() for n in case} or {0: ""}
    if channel is None:
        if len(channels) == 1:
            return next(iter(channels))
        raise ConfigError(
            f"{folder}: expected one image a case, found {len(channels)} channels: {_named(channels)}; a network of "
            f"fran sees one of them: choose it with channel={next(iter(channels))}"
        )
    by_name = {name: number for number, name in channels.items() if name}
    number = by_name.get(str(channel), int(channel) if str(channel).isdecimal() else -1)
    if number not in channels:
        raise ConfigError(f"channel: {folder} has none called {channel!r}; {choices(channel, _choices(channels))}")
    return number


def _named(channels: Mapping[int, str]) -> str:
    return ", ".join(f"{number} {name}".strip() for number, name in channels.items())


def _choices(channels: Mapping[int, str]) -> list[str]:
    return [*map(str, channels), *filter(None, channels.values())]


def _notes(folder: Path, stated: DatasetJson, files: _Files) -> Iterator[CaseProblem]:
    path = folder / FILE
    source = folder.name
    if stated.labels is None:
        step = "add one with labels, so that other values are refused"
        yield problem_of(source, path, FILE, "names of the labels", "none", step, "warning")
    n = len(files.images)
    if stated.n_training is not None and stated.n_training != n:
        what = f"numTraining {stated.n_training}, and {n} cases in {IMAGES}"
        step = f"complete the folder, or correct {FILE}"
        yield problem_of(source, path, "number of cases", "the cases that there are", what, step, "warning")
    if stated.regions:
        found = "; ".join(f"{name} = {' + '.join(map(str, values))}" for name, values in stated.regions.items())
        read = ", ".join(f"{value} {name}" for value, name in (stated.labels or {}).items())
        step = f"nothing; read as the labels {read}. A region by itself is a class of a plan: 'classes={{...: [...]}}'"
        yield problem_of(source, path, "regions", "labels that exclude each other", found, step, "note")
    if stated.ignore is not None:
        found = f"label {stated.ignore}, 'ignore': voxels that nobody judged"
        step = "nothing, if no label map has it; cases that have it are left out, for fran would have to guess"
        yield problem_of(source, path, "ignore label", "voxels that are all judged", found, step, "note")


def _pair(folder: Path, stated: DatasetJson, files: _Files, number: int, source: str, prefix: str | None) -> Pairing:
    result = Pairing()
    result.problems += [no_volume(source, path) for path in files.strangers]
    result.problems += _unlisted(folder, stated, files, source)
    ids = case_ids(sorted(files.images.keys() | files.lms.keys()), prefix)
    for name, case_id in ids.items():
        images, lms = files.images.get(name, {}), files.lms.get(name, [])
        problems = list(_case_problems(folder, stated, case_id, name, images, lms, number))
        result.problems += problems
        if all(p.severity != "error" for p in problems):
            result.pairs.append(Pair(case_id, patient_of(folder, name), images[number][0], lms[0], folder))
    if not ids:
        step = f"put the images into {folder / IMAGES} and the label maps into {folder / LABELS}"
        result.problems.append(problem_of(source, folder, "pairs", "images and label maps", "none", step))
    return result


def _case_problems(
    folder: Path,
    stated: DatasetJson,
    case_id: str,
    name: str,
    images: Mapping[int, Sequence[Path]],
    lms: Sequence[Path],
    number: int,
) -> Iterator[CaseProblem]:
    for paths in (*images.values(), lms):
        if len(paths) > 1:
            found = " and ".join(map(str, paths))
            yield problem_of(case_id, paths[0], "case name", "one file of a name", found, "move all but one out")
            return
    if not images:
        yield lone_file(case_id, lms[0], "label map without image", f"{folder / IMAGES / name}_{number:04d}.*")
        return
    first = next(iter(images.values()))[0]
    if not lms:
        yield lone_file(case_id, first, "image without label map", f"{folder / LABELS / name}.*")
        return
    expected = set(stated.channels or images) | {number}
    if images.keys() != expected:
        wanted, there = (", ".join(f"_{n:04d}" for n in sorted(numbers)) for numbers in (expected, images))
        step = f"add the missing file, move the other out, or correct {FILE}"
        severity: Severity = "warning" if number in images else "error"
        yield problem_of(case_id, first, "channels", f"images of the channels {wanted}", there, step, severity)


def _unlisted(folder: Path, stated: DatasetJson, files: _Files, source: str) -> Iterator[CaseProblem]:
    """Cases of the list in dataset.json that are not there, those listed twice, and those that it leaves out."""
    if stated.training is None:
        return
    path = folder / FILE
    names = [stem(label) for _, label in stated.training]
    for name in sorted(set(names) - files.images.keys() - files.lms.keys()):
        step = f"restore its files, or take it out of {FILE}"
        yield problem_of(name, path, "listed case", f"{IMAGES}/{name}* and {LABELS}/{name}.*", "neither", step)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        found = f"twice {', '.join(doubled[:5])}"
        yield problem_of(source, path, "listed twice", "each case once", found, "take one out", "warning")
    left_out = sorted((files.images.keys() & files.lms.keys()) - set(names))
    if left_out:
        found = f"{len(left_out)} cases that are not: {', '.join(left_out[:5])}" + ", …" * (len(left_out) > 5)
        step = f"nothing, they are taken in; move them out, or add them to {FILE}"
        yield problem_of(source, path, "cases not listed", "every case listed", found, step, "warning")
