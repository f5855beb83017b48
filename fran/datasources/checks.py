"""Judgements about measured cases: they follow from the facts alone, so a rescan that reads nothing repeats them."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fran.datasources.grids import TOLERANCE_VOXELS
from fran.datasources.measure import SWAPPED
from fran.datasources.pairing import Pair, fix
from fran.datasources.records import CaseFacts
from fran.errors import CaseProblem, Severity

HARMONISED = 1e-4
"""Affines whose elements differ by less than this are one affine written twice."""
SPACING_LIMITS_MM = (0.01, 50.0)

_ROUNDING = 1e-7
_CT_AIR = -200.0
_MAX_UNDECLARED = 255
_MANY = 5

Found = Sequence[tuple[Pair, CaseFacts]]


def check_case(pair: Pair, facts: CaseFacts, declared: Mapping[int, str] | None) -> list[CaseProblem]:
    """Problems of one case: its labels, an empty label map, a constant image, its spacing, a slightly shifted grid."""
    return [
        *_check_labels(pair, facts, declared),
        *_check_spacing(pair, facts),
        *_check_grid(pair, facts),
        *_check_content(pair, facts),
    ]


def _check_labels(pair: Pair, facts: CaseFacts, declared: Mapping[int, str] | None) -> list[CaseProblem]:
    if declared is None:
        strangers = {v: n for v, n in facts.labels.items() if v > _MAX_UNDECLARED}
        expected = f"values up to {_MAX_UNDECLARED} where no label names are declared"
        step = "declare every label with its name (labels.json in the datasource), or map the values to smaller ones: "
    else:
        strangers = {v: n for v, n in facts.labels.items() if v not in declared}
        expected = f"the declared labels {_named(declared)}"
        step = "declare the value with a name, or map it to another: "
    if not strangers:
        return []
    found = "value " + ", ".join(f"{v} ({n} voxels)" for v, n in list(strangers.items())[:10])
    if len(strangers) > 10:
        found += f" and {len(strangers) - 10} more up to {max(strangers)}"
    step += fix("relabel", pair.folder, "remapping={" + ", ".join(f"{v}: 0" for v in list(strangers)[:5]) + "}")
    return [CaseProblem(pair.case_id, str(pair.lm), "label values", expected, found, step)]


def _check_spacing(pair: Pair, facts: CaseFacts) -> list[CaseProblem]:
    low, high = SPACING_LIMITS_MM
    if all(low <= s <= high for s in facts.spacing_mm):
        return []
    found = " x ".join(f"{s:g}" for s in facts.spacing_mm) + " mm"
    step = "correct the header, whose unit may be another one, or export image and label map again"
    return [CaseProblem(pair.case_id, str(pair.image), "spacing", f"{low:g} to {high:g} mm", found, step)]


def _check_grid(pair: Pair, facts: CaseFacts) -> list[CaseProblem]:
    if facts.affine_difference <= _ROUNDING:
        return []
    command = fix("harmonise", pair.folder)
    if facts.affine_difference < HARMONISED:
        found = f"affines that differ by {facts.affine_difference:.2g}; the image's is used"
        step = f"nothing; {command} writes label maps with the image's own"
        return [_note(pair, "rounded affine", "equal affines of image and label map", found, step)]
    limit = TOLERANCE_VOXELS * min(facts.spacing_mm)
    found = (
        f"corners off by up to {facts.shift_mm:.4g} mm (below the limit of {limit:.3g} mm); the image's grid is used"
    )
    step = f"check that both belong together, then {command}"
    return [CaseProblem(pair.case_id, str(pair.lm), "label map grid", _grid_of(pair), found, step, "warning")]


def _grid_of(pair: Pair) -> str:
    return f"the grid of {pair.image}"


def _note(pair: Pair, what: str, expected: str, found: str, step: str) -> CaseProblem:
    return CaseProblem(pair.case_id, str(pair.lm), what, expected, found, step, "note")


def _check_content(pair: Pair, facts: CaseFacts) -> list[CaseProblem]:
    problems = []
    if not facts.labels:
        found = "only 0; kept as a case without foreground"
        step = "nothing, if the case holds none of the structures"
        problems.append(
            CaseProblem(pair.case_id, str(pair.lm), "empty label map", "a labelled voxel", found, step, "warning")
        )
    if facts.image.min == facts.image.max:
        found = f"{facts.image.min:g} in every voxel"
        path, expected = str(pair.image), "intensities that vary"
        problems.append(
            CaseProblem(pair.case_id, path, "constant image", expected, found, "export it again", "warning")
        )
    return problems


def check_datasource(source: str, folder: Path, found: Found, declared: Mapping[int, str] | None) -> list[CaseProblem]:
    """Problems that show only when the cases are compared: nothing labelled, copies, labels of one case alone."""
    problems: list[CaseProblem] = []
    if found and not any(facts.labels for _, facts in found):
        what = f"{len(found)} label maps, all of them empty"
        step = "export the label maps again: there is nothing to learn"
        problems.append(
            CaseProblem(source, str(folder), "empty label maps", "a labelled voxel in some case", what, step)
        )
    problems += _copies(found, lambda facts: facts.image_content, "copied image")
    problems += _copies(found, lambda facts: facts.lm_content, "copied label map")
    problems += _rare_labels(found, declared)
    return problems


def _copies(found: Found, content: Callable[[CaseFacts], str], what: str) -> list[CaseProblem]:
    """A warning for each case whose image, or label map, some other case has too."""
    equal: dict[str, list[Pair]] = defaultdict(list)
    for pair, facts in found:
        if content(facts):
            equal[content(facts)].append(pair)
    is_image = what == "copied image"
    step = "remove all but one; until then they share a fold" if is_image else "check that each belongs to its image"
    problems = []
    for pairs in (pairs for pairs in equal.values() if len(pairs) > 1):
        for pair in pairs:
            same = [str(p.image if is_image else p.lm) for p in pairs if p is not pair]
            text = "the same voxels as " + ", ".join(same[:3]) + f" and {len(same) - 3} more" * (len(same) > 3)
            path = str(pair.image if is_image else pair.lm)
            problems.append(CaseProblem(pair.case_id, path, what, "voxels of its own", text, step, "warning"))
    return sorted(problems, key=lambda p: p.case_id)


def _rare_labels(found: Found, declared: Mapping[int, str] | None) -> list[CaseProblem]:
    """With undeclared labels, a value met in one case alone may be a slip of the pen: show the table."""
    cases = Counter(v for _, facts in found for v in facts.labels)
    if declared is not None or len(found) < 2:
        return []
    table = ", ".join(f"{v}: {n}" for v, n in sorted(cases.items())[:20])
    step = "declare the labels (labels.json in the datasource) to have strangers refused"
    severity: Severity = "warning" if len(found) >= _MANY else "note"
    problems = []
    for pair, facts in found:
        lone = [str(v) for v in facts.labels if cases[v] == 1]
        if lone:
            shown = ", ".join(lone[:10]) + f" and {len(lone) - 10} more" * (len(lone) > 10)
            what = f"value {shown} here alone; cases of each label: {table}"
            expected = "labels that occur in several cases"
            problems.append(CaseProblem(pair.case_id, str(pair.lm), "rare label", expected, what, step, severity))
    return problems


def infer_modality(facts: CaseFacts) -> str:
    """``"CT"`` for whole numbers that reach down to air (minimum or 0.5th percentile at most -200), else ``"MR"``."""
    low = min(facts.image.min, facts.image.percentiles["0.5"])
    return "CT" if facts.integer_valued and low <= _CT_AIR else "MR"


def modality_note(source: str, folder: Path, modalities: Sequence[str]) -> CaseProblem:
    """Say which modality was inferred, as a warning where the cases disagree."""
    counts = Counter(modalities)
    found = "inferred " + ", ".join(f"{name} for {n} case{'s' * (n > 1)}" for name, n in sorted(counts.items()))
    step = "state modality=<CT, MR, PET, …> if this is wrong"
    severity: Severity = "warning" if len(counts) > 1 else "note"
    expected = "a modality in the datasource's settings"
    return CaseProblem(source, str(folder), "modality", expected, found, step, severity)


def swapped_folders(source: str, folder: Path, problems: Sequence[CaseProblem], n_pairs: int) -> list[CaseProblem]:
    """One error for the datasource where most of its pairs have the problem `fran.datasources.measure.SWAPPED`."""
    n_swapped = sum(p.what == SWAPPED for p in problems)
    if n_swapped < 2 or n_swapped <= n_pairs / 2:
        return []
    images, lms, between = (shlex.quote(str(folder / name)) for name in ("images", "lms", "images_"))
    step = f"exchange the folders: mv {images} {between} && mv {lms} {images} && mv {between} {lms}"
    if not (folder / "images").is_dir():
        step = "exchange the files: the folder of images holds label maps"
    found = f"label maps in images/ and images in lms/, for {n_swapped} of {n_pairs} pairs"
    what = "images and label maps swapped"
    return [CaseProblem(source, str(folder), what, "images in images/, label maps in lms/", found, step)]


def _named(declared: Mapping[int, str]) -> str:
    shown = [f"{v} {declared[v]}" for v in sorted(declared)]
    return ", ".join(shown[:20]) + (f", … ({len(shown)} in all)" if len(shown) > 20 else "")
