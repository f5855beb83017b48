"""Which image of a datasource goes with which label map."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fran.datasources.naming import FILE_RULE, CaseName, NameFault, parse_file_name
from fran.errors import CaseProblem, Severity
from fran.io.volume import EXTENSIONS, stem

IMAGES = "images"
LMS = "lms"


@dataclass(frozen=True)
class Pair:
    """An image and its label map, whatever their formats.

    Attributes:
        case_id: id of the case inside a project.
        patient: whose it is, where no `patient_pattern` says otherwise.
        image: file.
        lm: file.
        folder: the datasource.
    """

    case_id: str
    patient: str
    image: Path
    lm: Path
    folder: Path


@dataclass
class Pairing:
    """Pairs of one datasource in order of case id, and everything found on the way."""

    pairs: list[Pair] = field(default_factory=list)
    problems: list[CaseProblem] = field(default_factory=list)


@dataclass
class _Side:
    """Files of ``images/`` or of ``lms/`` by case id, and the stems that were refused."""

    folder: Path
    patches: bool
    files: dict[str, list[tuple[CaseName, Path]]] = field(default_factory=lambda: defaultdict(list))
    refused: set[str] = field(default_factory=set)


def expected_title(folder: Path, name: str | None, alias: str | None) -> str:
    """Title that the file names of a datasource must begin with.

    The alias, else the name given, else the folder's name; but where no file bears the folder's name and all share
    one other title, that one.
    """
    if alias or name:
        return alias or name or ""
    titles = set()
    for path in _listed(folder / IMAGES):
        try:
            titles.add(parse_file_name(path).title)
        except NameFault:
            continue
    return titles.pop() if len(titles) == 1 else folder.name


def pair_files(folder: Path, title: str, source: str, patches: bool = False) -> Pairing:
    """Match the files of ``<folder>/images`` with those of ``<folder>/lms``.

    Nothing is guessed: a case id met twice, a file without its partner and a name outside the rule are reported and
    left out; hidden files are ignored.

    Args:
        folder: the datasource.
        title: what every file name must begin with.
        source: the datasource's name, for problems that belong to no case.
        patches: whether each file is a case of its own, named by its whole name.
    """
    result = Pairing()
    missing = [f for f in (folder / IMAGES, folder / LMS) if not os.path.isdir(f)]  # noqa: PTH112 (no error where forbidden)
    for path in missing:
        step = f"mkdir {shlex.quote(str(path))} and put the files into it"
        result.problems.append(problem_of(source, path, "folder", "a folder beside its partner", "none", step))
    if missing:
        return result
    images = _collect(_Side(folder / IMAGES, patches), title, source, result.problems, set())
    lms = _collect(_Side(folder / LMS, patches), title, source, result.problems, images.refused)
    for case_id in sorted(images.files.keys() | lms.files.keys()):
        _match(case_id, images, lms, result)
    if not result.pairs:
        what = f"{len(images.files)} usable images and {len(lms.files)} usable label maps"
        where = f"{images.folder} and {lms.folder}"
        result.problems.append(
            problem_of(source, folder, "pairs", f"files of equal name in {where}", what, f"name files {FILE_RULE}")
        )
    return result


def _listed(folder: Path) -> list[Path]:
    try:
        names = sorted(e.name for e in os.scandir(folder) if not e.name.startswith("."))  # faster than sorting paths
        return [folder / name for name in names]
    except OSError:
        return []


def _collect(side: _Side, title: str, source: str, problems: list[CaseProblem], known: set[str]) -> _Side:
    """List one folder; stems in `known` were refused in the other one already and are not reported twice."""
    for path in _listed(side.folder):
        volume_name = path.name.lower().endswith(EXTENSIONS)
        if path.is_dir():
            side.refused.add(stem(path))
            severity: Severity = "error" if volume_name else "warning"
            step = "move it out of this folder" + ("; if it holds the volume, move that here" if volume_name else "")
            problems.append(problem_of(stem(path), path, "file type", "a file", "a directory", step, severity))
        elif not volume_name:
            problems.append(no_volume(source, path))
        else:
            problem = _place(path, title, side)
            if problem is not None:
                side.refused.add(stem(path))
            if problem is not None and stem(path) not in known:
                problems.append(problem)
    return side


def _place(path: Path, title: str, side: _Side) -> CaseProblem | None:
    """Put a file under its case id, or say why its name does not do."""
    try:
        name = parse_file_name(path)
    except NameFault as fault:
        step = f"rename the image and its label map; {fix('names', path.parents[1])} proposes names"
        return problem_of(stem(path), path, "file name", FILE_RULE, str(fault), step)
    if name.title != title:
        rename = fix("names", path.parents[1])
        step = f"add alias={name.title} if every file of the datasource begins so, or rename: {rename}"
        return problem_of(name.case_id, path, "title", f"'{title}_…'", f"'{name.title}_…'", step)
    side.files[stem(path) if side.patches else name.case_id].append((name, path))
    return None


def _match(case_id: str, images: _Side, lms: _Side, result: Pairing) -> None:
    found_images, found_lms = images.files.get(case_id, []), lms.files.get(case_id, [])
    doubled = [side for side in (found_images, found_lms) if len(side) > 1]
    for files in doubled:
        names = " and ".join(str(path) for _, path in files)
        result.problems.append(
            problem_of(case_id, files[0][1], "case id", "one file a case id", names, _doubled_step(files[0][1]))
        )
    if doubled:
        return
    if not found_images or not found_lms:
        (_, path) = (found_images or found_lms)[0]
        other = lms if found_images else images
        if stem(path) in other.refused:
            return
        partner = other.folder / path.name
        kind = "image without label map" if found_images else "label map without image"
        result.problems.append(lone_file(case_id, path, kind, str(partner)))
        return
    (name, image), (lm_name, lm) = found_images[0], found_lms[0]
    if name != lm_name:
        result.problems.append(
            problem_of(case_id, lm, "file name", f"the image's name {stem(image)}", stem(lm), "rename one of them")
        )
        return
    folder = images.folder.parent
    result.pairs.append(Pair(case_id, name.case_id, image, lm, folder))


def fix(verb: str, folder: Path, *settings: str) -> str:
    """The command line of a tool that repairs a datasource, quoted for a shell."""
    return shlex.join(["fran", "fix", verb, str(folder), *settings])


def _doubled_step(path: Path) -> str:
    return f"keep one of them, or give each an id of its own: {fix('rename-duplicates', path.parents[1])}"


def no_volume(source: str, path: Path) -> CaseProblem:
    """Warning about a file that is no volume by its name."""
    found = f"'{path.suffix}', the file is left out"
    return problem_of(source, path, "file type", ", ".join(EXTENSIONS), found, "convert or remove it", "warning")


def lone_file(case_id: str, path: Path, kind: str, partner: str, severity: Severity = "error") -> CaseProblem:
    """An image without label map, or a label map without image."""
    found = "none; the case is left out"
    return problem_of(case_id, path, kind, f"its partner {partner}", found, "add it, or move the file out", severity)


def problem_of(
    case_id: str, path: Path, what: str, expected: str, found: str, step: str, severity: Severity = "error"
) -> CaseProblem:
    """A problem of a file or a folder."""
    return CaseProblem(case_id, str(path), what, expected, found, step, severity)
