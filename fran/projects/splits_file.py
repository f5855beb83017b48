"""splits_final.json, in which nnU-Net keeps its folds, to fran's folds and back.

The file is a list with one ``{"train": [case, …], "val": [case, …]}`` for each fold. fran gives a case one fold, in
which it validates and outside of which it is trained on; both say the same where every fold trains on all that it does
not validate with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.errors import ConfigError, StoreError, choices
from fran.io.files import read_json, write_json
from fran.io.volume import stem
from fran.projects.database import CaseRow
from fran.projects.splits import Split

FILE = "splits_final.json"
_SHOWN = 5


@dataclass(frozen=True)
class FileFolds:
    """Folds as a file has them.

    Attributes:
        folds: fold by case id.
        n_folds: how many there are, with that of `never`.
        never: cases that every fold of the file trains on; they make up the last fold, which the file does not have.
    """

    folds: Mapping[str, int]
    n_folds: int
    never: tuple[str, ...] = ()


def read_splits(path: Path) -> list[tuple[list[str], list[str]]]:
    """(Training, validation) names of each fold.

    Raises:
        ConfigError: the file is missing or is no such list.
    """
    try:
        content = read_json(path)
    except StoreError as error:
        raise ConfigError(str(error).partition("; ")[0]) from error
    try:
        found = [([str(c) for c in fold["train"]], [str(c) for c in fold["val"]]) for fold in content]
    except (KeyError, TypeError) as error:
        raise ConfigError(f'{path}: expected [{{"train": [case, …], "val": [case, …]}}, …], found {error!r}') from error
    if not found:
        raise ConfigError(f"{path}: expected a fold or more, found an empty list")
    return found


def folds_from(path: Path, cases: Sequence[CaseRow], settled: Mapping[str, int] | None = None) -> FileFolds:
    """Folds of a project's cases as a splits_final.json has them.

    Args:
        path: the file. It names cases by their ids or by the names of their label maps.
        cases: of the project.
        settled: folds of cases that need not be in the file.

    Raises:
        ConfigError: the file cannot be meant for these cases, or cannot be said in fran's folds; every reason is named.
    """
    splits = read_splits(path)
    ids = _ids(cases)
    reasons = [*_faults(splits, ids, cases)]
    if not reasons:
        folds, never = _folds([({ids[n] for n in train}, {ids[n] for n in val}) for train, val in splits])
        training = {case.case_id for case in cases if not case.test}
        missing = training - folds.keys() - (settled or {}).keys()
        if missing:
            reasons.append(f"{_listed(missing)} of the project: in no fold; add to the file, or drop from the project")
        if not reasons:
            return FileFolds(folds, len(splits) + bool(never), tuple(sorted(never)))
    raise ConfigError(
        "\n".join([f"{path}: expected folds of the project's cases, found", *(f"  {r}" for r in reasons)])
    )


def write_splits(path: Path, splits: Sequence[Split]) -> None:
    """Write folds as a splits_final.json."""
    write_json(path, [{"train": list(split.train), "val": list(split.val)} for split in splits])


def _ids(cases: Sequence[CaseRow]) -> dict[str, str]:
    """Case id by each name that may stand for it: its own, and the name of its label map where no other has it."""
    names = Counter(stem(case.lm) for case in cases)
    by_file = {stem(case.lm): case.case_id for case in cases if names[stem(case.lm)] == 1}
    return by_file | {case.case_id: case.case_id for case in cases}


def _faults(
    splits: Sequence[tuple[Sequence[str], Sequence[str]]], ids: Mapping[str, str], cases: Sequence[CaseRow]
) -> Iterator[str]:
    named = {name for train, val in splits for name in (*train, *val)}
    unknown = sorted(named - ids.keys())
    if unknown:
        near = choices(unknown[0], _some(unknown[0], ids))
        yield f"{_listed(unknown)}: not in the project, or left out of it; {near}"
    tests = {case.case_id for case in cases if case.test}
    kept = sorted(name for name in named & ids.keys() if ids[name] in tests)
    if kept:
        yield f"{_listed(kept)}: kept for testing in the project"
    places: dict[str, int] = {}
    for number, (train, val) in enumerate(splits):
        doubled = sorted({name for names in (train, val) for name, n in Counter(names).items() if n > 1})
        if doubled:
            yield f"fold {number}: {_listed(doubled)} twice in one list"
        both = sorted({*train} & {*val})
        if both:
            yield f"fold {number}: {_listed(both)} in train and in val"
        if not val:
            yield f"fold {number}: nothing in val"
        again = sorted(name for name in {*val} if places.setdefault(name, number) != number)
        if again:
            yield f"fold {number}: {_listed(again)} in val, and in that of another fold; a case validates once"
        short = sorted(named - {*train} - {*val})
        if short:
            said = f"fold {number}: {_listed(short)} neither in train nor in val"
            yield f"{said}; fran trains on all that does not validate"


def _folds(splits: Sequence[tuple[set[str], set[str]]]) -> tuple[dict[str, int], set[str]]:
    folds = {case_id: number for number, (_, val) in enumerate(splits) for case_id in val}
    never = {case_id for train, _ in splits for case_id in train} - folds.keys()
    return dict(sorted({**folds, **dict.fromkeys(never, len(splits))}.items())), never


def _listed(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)
    cases = f"{len(shown)} case" + "s" * (len(shown) > 1)
    return f"{cases} ({', '.join(shown[:_SHOWN])}" + ", …" * (len(shown) > _SHOWN) + ")"


def _some(name: str, ids: Mapping[str, str]) -> list[str]:
    """The few names most like one: a project may have thousands."""
    from difflib import get_close_matches

    return get_close_matches(name, list(ids), n=_SHOWN, cutoff=0) or [*ids][:_SHOWN]
