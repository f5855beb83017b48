"""Which prediction belongs to which reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fran.errors import CaseProblem, DataError, Severity
from fran.io.volume import EXTENSIONS, stem


def case_id_of(file_stem: str) -> str:
    """Case id of a name ``{project_title}_{case_id}[_more]``; the whole name when it has no such parts."""
    parts = file_stem.split("_")
    return parts[1] if len(parts) > 1 and parts[1] else file_stem


def label_folder(folder: Path) -> Path:
    """The folder itself, or lms/ inside a datasource folder."""
    return folder / "lms" if (folder / "lms").is_dir() else folder


def label_maps(folder: Path) -> dict[str, Path]:
    """Label maps of a folder by stem; two formats of one stem are refused, for nobody could say which was scored."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder of label maps, found {'a file' if folder.exists() else 'nothing'}"
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(EXTENSIONS):
            continue
        if stem(path) in files:
            raise DataError(
                f"{folder}: expected one file a case, found {files[stem(path)].name} and {path.name}; remove one"
            )
        files[stem(path)] = path
    if not files:
        raise DataError(f"{folder}: expected label maps ({', '.join(EXTENSIONS)}), found none")
    return files


def pair(
    preds: Mapping[str, Path], refs: Mapping[str, Path]
) -> tuple[list[tuple[str, Path, Path]], list[str], list[str]]:
    """Pairs by equal name first, then by case id where that is unique on both sides; names left on either side."""
    by_id = _unique_ids(s for s in preds if s not in refs)
    ref_ids = _unique_ids(s for s in refs if s not in preds)
    pairs, missing, used = [], [], set()
    for name, ref in refs.items():
        partner = name if name in preds else by_id.get(case_id_of(name)) if name in ref_ids.values() else None
        if partner is None:
            missing.append(name)
        else:
            used.add(partner)
            pairs.append((name, preds[partner], ref))
    return pairs, missing, sorted(set(preds) - used)


def unpaired(pred: Path, gt: Path, missing: Sequence[str], extra: Sequence[str]) -> list[CaseProblem]:
    """One problem for all references without a prediction, and one note for all predictions without a reference."""
    problems = []
    if missing:
        expected = f"a prediction of the same name or case id in {pred}"
        step = "predict these cases, or remove their references"
        problems.append(unscored(_count(missing), gt, expected, f"none for {', '.join(missing)}", step))
    if extra:
        expected = f"a reference of the same name or case id in {gt}"
        step = "nothing, unless they should be scored"
        problems.append(unscored(_count(extra), pred, expected, f"none for {', '.join(extra)}", step, "note"))
    return problems


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} cases"


def _unique_ids(stems: Iterable[str]) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in stems:
        found[case_id_of(name)].append(name)
    return {case_id: stems[0] for case_id, stems in found.items() if len(stems) == 1}


def unscored(
    case_id: str, path: Path, expected: str, found: str, next_step: str = "", severity: Severity = "error"
) -> CaseProblem:
    """A case that has no score, and why."""
    return CaseProblem(
        case_id=case_id,
        path=str(path),
        what="not scored",
        expected=expected,
        found=found,
        next_step=next_step or "repair or predict this case again, then score again",
        severity=severity,
    )
