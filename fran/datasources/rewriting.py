"""Repairs of label maps: the image's exact grid, other label values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fran.datasources.grids import compare_grids
from fran.datasources.pairing import Pair
from fran.datasources.repair import LABELS_FILE, NewFolder, Repair, new_folder
from fran.errors import ConfigError, DataError
from fran.io.files import write_json
from fran.io.volume import Volume, as_label_map, decode, read_native_grid, read_volume, write_label_map
from fran.labels import MAX_LABEL, Remapping
from fran.parallel.progress import shown


def harmonise(
    folder: Path,
    pairs: Sequence[Pair],
    names: Mapping[int, str],
    out: Path | None = None,
    others: Sequence[Path] = (),
    progress: bool = False,
) -> Repair:
    """Write ``<folder>_harmonised``, in which every label map has exactly the grid of its image.

    Nothing is resampled: a label map is written anew where it lies on its image's grid but for less than half a voxel,
    or is stored in another axis order. Pairs that are further apart are left out and named.

    Args:
        folder: the datasource.
        pairs: its pairs.
        names: label names, kept in the headers.
        out: folder to write.
        others: files that are taken over.
        progress: show on stderr how many pairs are done.

    Raises:
        ConfigError: every grid is its image's, or the folder to write exists.
    """
    with new_folder(folder, out, "harmonised") as new:
        for pair in shown(pairs, len(pairs), "harmonise", progress):
            try:
                _harmonise(new, pair, names)
            except DataError as error:
                new.repair.left_out.append(str(error))
        if not new.repair.changes:
            raise ConfigError(f"{folder}: expected label maps off their image's grid, found none that can be mended")
        for path in others:
            new.take(path)
    return new.repair


def _harmonise(new: NewFolder, pair: Pair, names: Mapping[int, str]) -> None:
    native, found = read_native_grid(pair.image), read_native_grid(pair.lm)
    if native.shape == found.shape and np.array_equal(native.affine, found.affine):
        new.take(pair.image)
        new.take(pair.lm)
        return
    image, lm = read_volume(pair.image), read_volume(pair.lm, role="lm")
    problem = compare_grids(pair.case_id, image, lm)
    if problem:
        raise DataError(f"{pair.lm}: {problem.what}: expected {problem.expected}, found {problem.found}")
    write_label_map(new.target(pair.lm), lm.array, image.native, names)
    off = image.grid.max_distance_mm(lm.grid)
    change = f"{pair.lm.parent.name}/{pair.lm.name}: corners moved by up to {off:.3g} mm"
    turned = f", turned from {found.orientation} to {native.orientation}"
    new.repair.changes.append(change + turned * (found.orientation != native.orientation))
    new.take(pair.image)


def relabel(
    folder: Path,
    lms: Sequence[Path],
    others: Sequence[Path],
    remapping: Mapping[int, int] | Remapping,
    names: Mapping[int, str],
    out: Path | None = None,
    in_place: bool = False,
    progress: bool = False,
) -> Repair:
    """Write ``<folder>_relabelled`` with other label values; images are taken over, labels.json follows.

    Args:
        folder: the datasource.
        lms: its label maps.
        others: its other files, which are taken over.
        remapping: new values by old ones; values that are not listed stay, unless a `Remapping` says otherwise. Old
            values below 0 and above 65535 may be listed, too: that is how they are mended.
        names: declared label names by old value.
        out: folder to write.
        in_place: replace the label maps, and labels.json, of the datasource itself.
        progress: show on stderr how many label maps are done.

    Raises:
        ConfigError: a value that cannot be used, both `out` and `in_place`, or the folder to write exists.
        DataError: a label map cannot be read; nothing was written then.
    """
    strange, plain = _parted(remapping)
    new_names = _renamed(names, plain)
    if in_place:
        if out is not None:
            raise ConfigError(f"out: expected none with in_place=true, found {out}; drop one of the two")
        return _relabel_in_place(folder, lms, strange, plain, new_names, progress)
    with new_folder(folder, out, "relabelled") as new:
        for path in shown(lms, len(lms), "relabel", progress, "label map"):
            lm = _relabelled(path, strange, plain)
            if lm is None:
                new.take(path)
            else:
                write_label_map(new.target(path), lm.array, lm.native, new_names)
                new.repair.changes.append(f"{path.parent.name}/{path.name}: {_described(strange, plain)}")
        for path in others:
            new.take(path)
        if new_names:
            write_json(new.path / LABELS_FILE, {str(v): n for v, n in new_names.items()})
    return new.repair


def _relabel_in_place(
    folder: Path,
    paths: Sequence[Path],
    strange: Mapping[int, int],
    plain: Remapping,
    names: Mapping[int, str],
    progress: bool,
) -> Repair:
    repair = Repair(folder)
    # before anything is replaced: a label map that cannot be read would leave half of them changed
    for path in shown(paths, len(paths), "read", progress, "label map"):
        _relabelled(path, strange, plain)
    for path in shown(paths, len(paths), "relabel", progress, "label map"):
        lm = _relabelled(path, strange, plain)
        if lm is not None:
            write_label_map(path.resolve(), lm.array, lm.native, names)
            repair.changes.append(f"{path.parent.name}/{path.name}: {_described(strange, plain)}")
    if names and (folder / LABELS_FILE).exists():
        write_json(folder / LABELS_FILE, {str(v): n for v, n in names.items()})
    repair.n_untouched = len(paths) - len(repair.changes)
    return repair


def _parted(remapping: Mapping[int, int] | Remapping) -> tuple[dict[int, int], Remapping]:
    """Old values that no label map may hold, and the rest."""
    if isinstance(remapping, Remapping):
        return {}, remapping
    strange = {old: new for old, new in remapping.items() if not 0 <= old <= MAX_LABEL}
    plain = Remapping.of({old: new for old, new in remapping.items() if old not in strange})
    Remapping.of({1 + k: new for k, new in enumerate(strange.values())})  # checks the new values
    if not strange and plain.is_identity:
        raise ConfigError(f"remapping: expected a value that changes, found {dict(remapping)}")
    return strange, plain


def _relabelled(path: Path, strange: Mapping[int, int], plain: Remapping) -> Volume | None:
    """The label map with new values; None where none changes."""
    stored = decode(path)
    array = stored.array
    met = [old for old in strange if (array == old).any()]
    if met:
        array = np.array(array, dtype=np.float64 if array.dtype.kind == "f" else np.int64)
        was = array.copy()
        for old in met:
            array[was == old] = strange[old]
    lm = as_label_map(replace(stored, array=array))
    changed = plain.apply(lm.array)
    if not met and np.array_equal(changed, lm.array):
        return None
    return replace(lm, array=changed)


def _described(strange: Mapping[int, int], plain: Remapping) -> str:
    pairs = [*sorted(strange.items()), *plain.pairs]
    return ", ".join(f"{old} -> {new}" for old, new in pairs[:10]) + ", …" * (len(pairs) > 10)


def _renamed(names: Mapping[int, str], remapping: Remapping) -> dict[int, str]:
    """Names by new value: a value that kept its place gives its name, labels that were joined give all of theirs."""
    found: dict[int, list[int]] = {}
    for old in sorted(names):
        if remapping[old]:
            found.setdefault(remapping[old], []).append(old)
    return {new: names[new] if new in olds else "_and_".join(names[o] for o in olds) for new, olds in found.items()}
