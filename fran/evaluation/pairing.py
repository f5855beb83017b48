"""Which prediction belongs to which reference."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fran.errors import CaseProblem, DataError, Severity
from fran.io.volume import EXTENSIONS, stem

#: Folders of references inside of others: fran's, then those of nnU-Net and the decathlon.
REFERENCES = ("lms", "labelsTr", "labelsTs")

log = logging.getLogger("fran.score")
_CHANNEL = re.compile(r"_\d{4}$")  # of an image of nnU-Net


def case_id_of(file_stem: str) -> str:
    """Case id of a name ``{project_title}_{case_id}[_more]``; the whole name when it has no such parts."""
    parts = file_stem.split("_")
    return parts[1] if len(parts) > 1 and parts[1] else file_stem


def label_folder(folder: Path, preds: Iterable[str]) -> Path:
    """Where a folder has its references: lms/ of a datasource, labelsTr/ or labelsTs/ of nnU-Net and the decathlon.

    Args:
        folder: itself the answer where it has none of these.
        preds: names of predictions; of labelsTr/ and labelsTs/ the one is taken that has references of more of them.
    """
    own, *others = REFERENCES
    if (folder / own).is_dir():
        return folder / own
    inside = [folder / name for name in others if (folder / name).is_dir()]
    if not inside:
        return folder
    wanted = {name for pred in preds for name in (pred, _without_channel(pred))}
    taken = max(inside, key=lambda labels: len(wanted & {stem(path) for path in labels.iterdir()}))
    log.info("references: those of %s", taken)
    return taken


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
    """Pairs of equal names; then by what two names have in common beyond doubt; names left on either side.

    Names are alike without the channel that nnU-Net puts behind an image's name (``site_021_0000``), or by the case id
    of ``{title}_{case id}[_more]`` where that has a digit, occurs once on each side, and no further number differs.
    """
    left_preds, left_refs = [s for s in preds if s not in refs], [s for s in refs if s not in preds]
    partners = {name: name for name in refs if name in preds}
    for of_pred, of_ref in ((_without_channel, str), (case_id_of, case_id_of)):
        of_preds, of_refs = _unique(left_preds, of_pred), _unique(left_refs, of_ref)
        found = {ref: of_preds[k] for k, ref in of_refs.items() if k in of_preds and _agree(of_preds[k], ref, k)}
        partners |= found
        left_preds = [s for s in left_preds if s not in found.values()]
        left_refs = [s for s in left_refs if s not in found]
    alike = [f"{pred} with {ref}" for ref, pred in partners.items() if pred != ref]
    if alike:
        log.info("names that differ, scored as one case: %s", ", ".join(alike[:5]) + ", …" * (len(alike) > 5))
    return (
        [(name, preds[partners[name]], refs[name]) for name in refs if name in partners],
        left_refs,
        sorted(left_preds),
    )


def _without_channel(name: str) -> str:
    return _CHANNEL.sub("", name)


def _agree(pred: str, ref: str, shared: str) -> bool:
    """Whether nothing in two names speaks against their being one case: numbers beside the shared part are equal."""
    if _without_channel(pred) == ref:
        return True
    numbers = [{t for t in name.split("_")[1:] if any(c.isdigit() for c in t)} for name in (pred, ref)]
    return any(c.isdigit() for c in shared) and (numbers[0] <= numbers[1] or numbers[1] <= numbers[0])


def unpaired(
    pred: Path,
    gt: Path,
    missing: Sequence[str],
    extra: Sequence[str],
    step: str = "predict these cases, or remove their references",
    severity: Severity = "error",
) -> list[CaseProblem]:
    """One problem for all references without a prediction, and one note for all predictions without a reference.

    `step` and `severity` are those of the references without a prediction.
    """
    problems = []
    if missing:
        expected = f"a prediction of the same name or case id in {pred}"
        found = f"none for {', '.join(missing)}"
        problems.append(unscored(_count(missing), gt, expected, found, step, severity))
    if extra:
        expected = f"a reference of the same name or case id in {gt}"
        step = "nothing, unless they should be scored"
        problems.append(unscored(_count(extra), pred, expected, f"none for {', '.join(extra)}", step, "note"))
    return problems


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} cases"


def _unique(names: Iterable[str], key: Callable[[str], str]) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[key(name)].append(name)
    return {k: alike[0] for k, alike in found.items() if len(alike) == 1}


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
