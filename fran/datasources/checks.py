"""Judgements about measured cases: they follow from the facts alone, so a rescan that reads nothing repeats them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from fran.datasources.measure import TOLERANCE_VOXELS
from fran.datasources.pairing import Pair
from fran.datasources.records import CaseFacts
from fran.errors import CaseProblem, Severity

HARMONISED = 1e-4
"""Affines whose elements differ by less than this are one affine written twice."""

_ROUNDING = 1e-7
_CT_AIR = -200.0
_MAX_UNDECLARED = 255
_MANY = 5


def check_case(pair: Pair, facts: CaseFacts, declared: Mapping[int, str] | None) -> list[CaseProblem]:
    """Problems of one case: its labels, an empty label map, a constant image, a slightly shifted grid."""
    return [*_check_labels(pair, facts, declared), *_check_grid(pair, facts), *_check_content(pair, facts)]


def _check_labels(pair: Pair, facts: CaseFacts, declared: Mapping[int, str] | None) -> list[CaseProblem]:
    if declared is None:
        strangers = {v: n for v, n in facts.labels.items() if v > _MAX_UNDECLARED}
        expected = f"values up to {_MAX_UNDECLARED} where no label names are declared"
        step = "declare every label with its name (labels.json in the datasource), or map the values to smaller ones"
    else:
        strangers = {v: n for v, n in facts.labels.items() if v not in declared}
        expected = f"the declared labels {_named(declared)}"
        step = "declare the value with a name, or correct the label map"
    if not strangers:
        return []
    found = "value " + ", ".join(f"{v} ({n} voxels)" for v, n in list(strangers.items())[:10])
    if len(strangers) > 10:
        found += f" and {len(strangers) - 10} more up to {max(strangers)}"
    return [CaseProblem(pair.case_id, str(pair.lm), "label values", expected, found, step)]


def _check_grid(pair: Pair, facts: CaseFacts) -> list[CaseProblem]:
    if facts.affine_difference < HARMONISED:
        return []
    limit = TOLERANCE_VOXELS * min(facts.spacing_mm)
    return [
        CaseProblem(
            pair.case_id,
            str(pair.lm),
            "label map grid",
            f"the grid of {pair.image}",
            f"corners off by up to {facts.shift_mm:.4g} mm (below the limit of {limit:.3g} mm); the image's is used",
            "check that both belong together",
            "warning",
        )
    ]


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
        problems.append(
            CaseProblem(
                pair.case_id,
                str(pair.image),
                "constant image",
                "intensities that vary",
                found,
                "export it again",
                "warning",
            )
        )
    return problems


def check_datasource(
    source: str, folder: str, found: Sequence[tuple[Pair, CaseFacts]], declared: Mapping[int, str] | None
) -> list[CaseProblem]:
    """Problems that show only when the cases are compared: nothing labelled, copies, odd labels, rounded affines."""
    problems: list[CaseProblem] = []
    if found and not any(facts.labels for _, facts in found):
        what = f"{len(found)} label maps, all of them empty"
        step = "export the label maps again: there is nothing to learn"
        problems.append(CaseProblem(source, folder, "empty label maps", "a labelled voxel in some case", what, step))
    problems += _check_copies(found)
    problems += _check_rare_labels(source, folder, found, declared)
    rounded = [facts.affine_difference for _, facts in found if _ROUNDING < facts.affine_difference < HARMONISED]
    if rounded:
        what = f"{len(rounded)} label maps whose affine differs by up to {max(rounded):.2g}; the image's is used"
        expected = "equal affines of image and label map"
        problems.append(CaseProblem(source, folder, "rounded affines", expected, what, "nothing", "note"))
    return problems


def _check_copies(found: Sequence[tuple[Pair, CaseFacts]]) -> list[CaseProblem]:
    by_digest: dict[str, list[Pair]] = defaultdict(list)
    for pair, facts in found:
        by_digest[facts.image_stamp.digest].append(pair)
    return [
        CaseProblem(
            pairs[0].case_id,
            str(pairs[0].image),
            "copies",
            "one case an image",
            "the same bytes as " + ", ".join(str(p.image) for p in pairs[1:]),
            "remove all but one; until then they share a fold",
            "warning",
        )
        for pairs in by_digest.values()
        if len(pairs) > 1
    ]


def _check_rare_labels(
    source: str, folder: str, found: Sequence[tuple[Pair, CaseFacts]], declared: Mapping[int, str] | None
) -> list[CaseProblem]:
    """With undeclared labels, a value met in one case alone may be a slip of the pen: show the table."""
    cases = Counter(v for _, facts in found for v in facts.labels)
    lone = {v: p.case_id for p, facts in found for v in facts.labels if cases[v] == 1}
    if declared is not None or len(found) < 2 or not lone:
        return []
    where = ", ".join(f"{v} in {case}" for v, case in sorted(lone.items())[:10])
    table = ", ".join(f"{v}: {n}" for v, n in sorted(cases.items())[:20])
    what = f"value {where} alone; cases per label {table}"
    step = "declare the labels (labels.json in the datasource) to have strangers refused"
    severity: Severity = "warning" if len(found) >= _MANY else "note"
    return [CaseProblem(source, folder, "rare labels", "labels that occur in several cases", what, step, severity)]


def infer_modality(facts: CaseFacts) -> str:
    """``"CT"`` for whole numbers that reach down to air (minimum or 0.5th percentile at most -200), else ``"MR"``."""
    low = min(facts.image.min, facts.image.percentiles["0.5"])
    return "CT" if facts.integer_valued and low <= _CT_AIR else "MR"


def modality_note(source: str, folder: str, modalities: Sequence[str]) -> CaseProblem:
    """Say which modality was inferred, as a warning where the cases disagree."""
    counts = Counter(modalities)
    found = "inferred " + ", ".join(f"{name} for {n} cases" for name, n in sorted(counts.items()))
    step = "state modality=<CT, MR, PET, …> if this is wrong"
    severity: Severity = "warning" if len(counts) > 1 else "note"
    return CaseProblem(source, folder, "modality", "a modality in the datasource's settings", found, step, severity)


def _named(declared: Mapping[int, str]) -> str:
    shown = [f"{v} {declared[v]}" for v in sorted(declared)]
    return ", ".join(shown[:20]) + (f", … ({len(shown)} in all)" if len(shown) > 20 else "")
