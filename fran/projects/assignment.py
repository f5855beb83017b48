"""The folds of a project in its database: dealt, frozen, mirrored for people, and turned into splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fran.errors import ConfigError, StoreError
from fran.io.files import write_json
from fran.projects.admission import fold_case
from fran.projects.database import Database, Transaction
from fran.projects.folders import ProjectFolders
from fran.projects.folds import assign_folds
from fran.projects.splits import Assignment, Fold, Split, make_split, split_digest
from fran.projects.splits_file import FileFolds, folds_from

N_FOLDS = 5
SETTING = "folds"


def assign(
    folders: ProjectFolders,
    database: Database,
    n_folds: int | None = None,
    seed: int | None = None,
    reassign: bool = False,
) -> dict[str, int]:
    """Give a fold to the training cases that have none, and write validation_folds.json.

    Args:
        folders: of the project.
        database: of the project.
        n_folds: None is the number dealt before, or `N_FOLDS`.
        seed: None is the seed dealt with before, or 0.
        reassign: deal all cases anew.

    Returns:
        fold by case id.

    Raises:
        ConfigError: another number or seed than before, without `reassign`.
    """
    with database.transaction() as transaction:
        stored = transaction.setting(SETTING) or {}
        training = {case_id: fold for case_id, fold, test in transaction.places() if not test}
        given = {case_id: fold for case_id, fold in training.items() if fold is not None}
        if reassign:
            transaction.forget_folds()
        elif stored and given:
            _check_frozen(folders.title, stored, n_folds, seed)
        if given.keys() == training.keys() and folders.validation_folds.exists() and not reassign:
            return given
        n_folds = stored.get("n_folds", N_FOLDS) if n_folds is None else n_folds
        seed = stored.get("seed", 0) if seed is None else seed
        existing = {} if reassign else given
        folds = assign_folds(map(fold_case, transaction.cases()), existing, n_folds, seed)
        transaction.set_folds({c: f for c, f in folds.items() if c not in existing})
        if folds:
            kept = {} if reassign else stored
            transaction.put_setting(SETTING, {**kept, "n_folds": n_folds, "seed": seed})
        write_mirror(folders, transaction)
    return folds


def take(folders: ProjectFolders, database: Database, path: Path, reassign: bool = False) -> FileFolds:
    """Give the training cases the folds that a splits_final.json has; see `fran.projects.splits_file`.

    Args:
        folders: of the project.
        database: of the project.
        path: the file.
        reassign: also where that moves cases that have a fold.

    Raises:
        ConfigError: the file does not fit the project, or would move cases without `reassign`.
    """
    with database.transaction() as transaction:
        given = {case_id: fold for case_id, fold, test in transaction.places() if not test and fold is not None}
        stored = transaction.setting(SETTING) or {}
        found = folds_from(path, transaction.cases(), {} if reassign else given)
        moved = sorted(c for c in given.keys() & found.folds.keys() if found.folds[c] != given[c])
        other = bool(given) and stored.get("n_folds", N_FOLDS) != found.n_folds
        if (moved or other) and not reassign:
            what = f"{len(moved)} cases in other folds, {moved[0]} for one" if moved else f"{found.n_folds} folds"
            raise ConfigError(
                f"{path}: expected the folds that project {folders.title} has, found {what}; to take those of the file "
                "(runs made before then cannot be compared with later ones): "
                f"fran project folds project={folders.title} from={path} reassign=true"
            )
        if reassign:
            transaction.forget_folds()
        transaction.set_folds(found.folds)
        transaction.put_setting(SETTING, {"n_folds": found.n_folds, "seed": stored.get("seed", 0), "from": str(path)})
        write_mirror(folders, transaction)
    return found


def write_mirror(folders: ProjectFolders, transaction: Transaction) -> None:
    """Write validation_folds.json: case ids of each fold and of the test cases, for people."""
    places = transaction.places()
    by_fold: dict[str, Any] = {}
    for case_id, fold, test in places:
        key = "test" if test else "unassigned" if fold is None else f"fold_{fold}"
        by_fold.setdefault(key, []).append(case_id)
    assignment = assignment_of({c: fold for c, fold, test in places if not test}, transaction.setting(SETTING))
    place: dict[str, Fold | None] = dict(assignment.folds)
    frozen = {
        "n_folds": assignment.n_folds,
        "seed": assignment.seed,
        "digest": split_digest(place, "folds", assignment),
    }
    write_json(folders.validation_folds, {"test": [], **by_fold, **frozen})


def assignment_of(folds: Mapping[str, int | None], setting: dict[str, Any] | None) -> Assignment:
    """Folds of the training cases, with how they were dealt."""
    stored = setting or {}
    return Assignment(folds, stored.get("n_folds", N_FOLDS), stored.get("seed", 0))


def split(folders: ProjectFolders, database: Database, fold: Fold, datasources: Collection[str] | None = None) -> Split:
    """Cases to train on and to validate with; see `fran.projects.splits.make_split`.

    Args:
        folders: of the project.
        database: of the project.
        fold: number, name of a datasource, or ``"all"``.
        datasources: names to choose from; None is all.

    Raises:
        StoreError: no training cases, or some without a fold.
        ConfigError: no such fold.
    """
    cases = database.cases()
    assignment = assignment_of({c.case_id: c.fold for c in cases if not c.test}, database.setting(SETTING))
    # test cases of any datasource count: what is tested on must not be trained on
    used = [c for c in cases if c.test or datasources is None or c.ds in datasources]
    training = [c for c in used if not c.test]
    unassigned = sum(c.fold is None for c in training)
    if not training or (isinstance(fold, int) and unassigned):
        found = f"{unassigned} of {len(training)} without one" if training else "no training cases"
        raise StoreError(
            f"project {folders.title}: expected a fold for every training case, found {found}; "
            f"fran project folds project={folders.title}  (in Python: maybe_store_projectwide_properties())"
        )
    return make_split([fold_case(c) for c in used], assignment, fold)


def _check_frozen(title: str, stored: dict[str, Any], n_folds: int | None, seed: int | None) -> None:
    for name, wanted in (("n_folds", n_folds), ("seed", seed)):
        if wanted is not None and wanted != stored[name]:
            raise ConfigError(
                f"{name}: expected {stored[name]}, with which the folds of project {title} were dealt, found {wanted}; "
                "to deal all cases anew (runs made before then cannot be compared with later ones): "
                f"fran project folds project={title} {name}={wanted} reassign=true"
            )
