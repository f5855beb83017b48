"""Repairs of names: a case id of its own for each pair of files, and names that keep the rule."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from string import ascii_lowercase

from fran.datasources.naming import CaseName, NameFault, parse_file_name
from fran.datasources.pairing import IMAGES, LMS
from fran.datasources.repair import NewFolder, Repair, new_folder
from fran.errors import ConfigError
from fran.io.volume import EXTENSIONS, stem


def rename_duplicates(folder: Path, out: Path | None = None) -> Repair:
    """Write ``<folder>_renamed``, in which cases that share an id have a letter behind it: 00004 → 00004a, 00004b.

    An image goes with the label map of the same name, and of several such with the one of the same ending. Files whose
    partner cannot be told are left out and named.

    Raises:
        ConfigError: no id occurs twice, or the folder to write exists.
    """
    groups = _by_case(folder)
    doubled = {case_id: pairs for case_id, pairs in groups.items() if len(pairs) > 1}
    if not doubled:
        raise ConfigError(f"{folder}: expected case ids that occur twice, found none; nothing to rename")
    taken = set(groups)
    with new_folder(folder, out, "renamed") as new:
        for case_id, pairs in groups.items():
            ids = _letters(case_id, len(pairs), taken) if case_id in doubled else [case_id]
            for (name, image, lm), new_id in zip(pairs, ids, strict=True):
                _take_pair(new, name, new_id, image, lm)
    return new.repair


def _by_case(folder: Path) -> dict[str, list[tuple[CaseName, Path | None, Path | None]]]:
    """(name, image, label map) of every case id; one of the files is None where its partner cannot be told."""
    images, lms = (
        {(stem(path), path.name[len(stem(path)) :]): path for path in volumes(folder / side)} for side in (IMAGES, LMS)
    )
    groups: dict[str, list[tuple[CaseName, Path | None, Path | None]]] = defaultdict(list)
    for text in sorted({text for text, _ in (*images, *lms)}):
        try:
            name = parse_file_name(text + ".nii")
        except NameFault:
            continue
        for image, lm in _partners(text, images, lms):
            groups[name.case_id].append((name, image, lm))
    return groups


def _partners(
    text: str, images: dict[tuple[str, str], Path], lms: dict[tuple[str, str], Path]
) -> list[tuple[Path | None, Path | None]]:
    mine, theirs = ({end: path for (name, end), path in side.items() if name == text} for side in (images, lms))
    if len(mine) == len(theirs) == 1:
        return [(*mine.values(), *theirs.values())]  # type: ignore[list-item]
    return [(mine.get(end), theirs.get(end)) for end in sorted(mine.keys() | theirs.keys())]


def _letters(case_id: str, n: int, taken: set[str]) -> list[str]:
    """`n` ids made of `case_id` and a letter (then two), none of them in `taken`, which they join."""
    found: list[str] = []
    for number in count():
        tail = "" if number < 26 else ascii_lowercase[number // 26 - 1]
        new = f"{case_id}{tail}{ascii_lowercase[number % 26]}"
        if new not in taken:
            taken.add(new)
            found.append(new)
        if len(found) == n:
            return found
    raise AssertionError("count() has no end")


def _take_pair(new: NewFolder, name: CaseName, case_id: str, image: Path | None, lm: Path | None) -> None:
    alone = image if lm is None else lm if image is None else None
    if alone is not None:
        new.repair.left_out.append(f"{alone.parent.name}/{alone.name}: no partner of its name and ending")
        return
    text = "_".join((case_id, *name.extra))
    for path in (image, lm):
        if path is not None:
            new.take(path, text + path.name[len(stem(path)) :])


def rename_files(folder: Path, title: str, out: Path | None = None) -> Repair:
    """Write ``<folder>_named``, in which every file name keeps the rule ``<title>_<case id>[_<extra>…]``.

    Accents are dropped, what is neither letter nor digit parts tokens, and a file without a case id gets a number. An
    image and a label map of one name keep one name.

    Raises:
        ConfigError: every name keeps the rule, the title cannot be used, or the folder to write exists.
    """
    title = re.sub("[^a-z0-9]", "", _plain(title).lower())
    paths = [path for side in (IMAGES, LMS) for path in volumes(folder / side)]
    names = _proposals(sorted({stem(path) for path in paths}), title)
    if all(old == new for old, new in names.items()):
        raise ConfigError(f"{folder}: expected names outside the rule, found none; nothing to rename")
    with new_folder(folder, out, "named") as new:
        for path in paths:
            new.take(path, names[stem(path)] + path.name[len(stem(path)) :])
    return new.repair


def _proposals(stems: Iterable[str], title: str) -> dict[str, str]:
    """New name of each old one. Good names stay; of two that would become one, the later gets a letter."""
    names: dict[str, str] = {}
    numbers = (f"x{n:03d}" for n in count(1))
    taken: Counter[str] = Counter()
    waiting = []
    for text in stems:
        try:
            name = parse_file_name(text + ".nii")
            good = name.title == title
        except NameFault:
            good = False
        if good:
            names[text] = text
            taken[name.case_id] += 1
        else:
            waiting.append(text)
    for text in waiting:
        tokens = re.findall("[A-Za-z0-9]+", _plain(text))
        if tokens and tokens[0].lower() == title:
            tokens = tokens[1:]
        number, *extra = tokens or [next(numbers)]
        case_id = f"{title}_{number}"
        if case_id in taken:
            (case_id,) = _letters(case_id, 1, set(taken))
        taken[case_id] += 1
        names[text] = "_".join((case_id, *extra))
    return names


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def volumes(folder: Path) -> list[Path]:
    """Files of a folder that are called like volumes, hidden ones left out, in order of name."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder of volumes, found none; create it")
    entries = sorted(folder.iterdir())
    return [p for p in entries if p.name.lower().endswith(EXTENSIONS) and not p.name.startswith(".") and not p.is_dir()]
