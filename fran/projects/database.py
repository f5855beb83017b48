"""cases.db: the one module with SQL. Every value is bound to a parameter, every change is one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fran.errors import StoreError

SCHEMA_VERSION = 1
_BUSY_MS = 30_000

_SCHEMA = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sources (
    name TEXT PRIMARY KEY, alias TEXT, folder TEXT NOT NULL, label_names TEXT NOT NULL
);
CREATE TABLE datasources (
    case_id TEXT PRIMARY KEY,
    ds TEXT NOT NULL REFERENCES sources (name),
    alias TEXT,
    image TEXT NOT NULL UNIQUE,
    lm TEXT NOT NULL UNIQUE,
    img_symlink TEXT NOT NULL UNIQUE,
    lm_symlink TEXT NOT NULL UNIQUE,
    fold INTEGER CHECK (fold >= 0),
    test INTEGER NOT NULL CHECK (test IN (0, 1)),
    labels TEXT NOT NULL,
    has_foreground INTEGER NOT NULL CHECK (has_foreground IN (0, 1)),
    spacing TEXT NOT NULL,
    size TEXT NOT NULL,
    image_digest TEXT NOT NULL,
    lm_digest TEXT NOT NULL,
    patient TEXT NOT NULL,
    modality TEXT NOT NULL,
    CHECK (test = 0 OR fold IS NULL)
);
CREATE INDEX datasources_by_ds ON datasources (ds);
CREATE TABLE master_plans (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    yaml TEXT NOT NULL,
    stages TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    UNIQUE (name, yaml, stages)
);
"""

_CASE_COLUMNS = (
    *("case_id", "ds", "alias", "image", "lm", "img_symlink", "lm_symlink", "fold", "test", "labels"),
    *("has_foreground", "spacing", "size", "image_digest", "lm_digest", "patient", "modality"),
)
_INSERT_CASE = (
    f"INSERT INTO datasources ({', '.join(_CASE_COLUMNS)}) VALUES ({', '.join(f':{c}' for c in _CASE_COLUMNS)}) "
    f"ON CONFLICT (case_id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _CASE_COLUMNS[1:])}"
)


@dataclass(frozen=True)
class CaseRow:
    """One case of a project.

    Attributes:
        case_id: ``<title>_<case id>``, unique in the project.
        ds: name of the datasource.
        alias: first token of its file names, where it is not the name.
        image: raw file.
        lm: raw file.
        img_symlink: link to `image` in the project's raw folder.
        lm_symlink: link to `lm`.
        fold: validation fold; None until assigned, and for test cases.
        test: kept for testing.
        labels: voxels of each label value but 0.
        has_foreground: whether any voxel bears a label.
        spacing_mm: (x, y, z), RAS.
        size: voxels (x, y, z), RAS.
        image_digest: of the file's bytes.
        lm_digest: of the file's bytes.
        patient: never part in a split.
        modality: ``"CT"``, ``"MR"``, …
    """

    case_id: str
    ds: str
    alias: str | None
    image: Path
    lm: Path
    img_symlink: Path
    lm_symlink: Path
    fold: int | None
    test: bool
    labels: Mapping[int, int]
    has_foreground: bool
    spacing_mm: tuple[float, float, float]
    size: tuple[int, int, int]
    image_digest: str
    lm_digest: str
    patient: str
    modality: str


@dataclass(frozen=True)
class SourceRow:
    """One datasource of a project; `label_names` is empty where none were declared."""

    name: str
    alias: str | None
    folder: Path
    label_names: Mapping[int, str]


@dataclass(frozen=True)
class PlanRow:
    """One plan as it was resolved, with ``(key, folder)`` of each stage."""

    id: int
    name: str
    yaml: str
    stages: Mapping[str, tuple[str, str]]
    created_at: str


class Database:
    """cases.db of one project. Holds no open connection, so it can be pickled and used from several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the file and its tables where there are none.

        Raises:
            StoreError: the file is of another schema version.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            if _version(connection) == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
            connection.execute("COMMIT")
            _check_version(self.path, connection)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Everything done with the yielded object is kept together, or, after an exception, not at all."""
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def cases(self) -> list[CaseRow]:
        """Every case in order of case id."""
        with self._opened() as connection:
            rows = connection.execute(f"SELECT {', '.join(_CASE_COLUMNS)} FROM datasources ORDER BY case_id").fetchall()
        return [_case_row(row) for row in rows]

    def count(self) -> int:
        """Number of cases."""
        with self._opened() as connection:
            return int(connection.execute("SELECT count(*) FROM datasources").fetchone()[0])

    def sources(self) -> dict[str, SourceRow]:
        """Datasources by name."""
        with self._opened() as connection:
            rows = connection.execute("SELECT name, alias, folder, label_names FROM sources ORDER BY name").fetchall()
        sources = [SourceRow(r["name"], r["alias"], Path(r["folder"]), _int_keys(r["label_names"])) for r in rows]
        return {source.name: source for source in sources}

    def plans(self) -> list[PlanRow]:
        """Plans in the order in which they were added."""
        with self._opened() as connection:
            rows = connection.execute("SELECT * FROM master_plans ORDER BY id").fetchall()
        return [PlanRow(r["id"], r["name"], r["yaml"], _stages(r["stages"]), r["created_at"]) for r in rows]

    def setting(self, key: str) -> Any:
        """A stored setting, or None."""
        with self._opened() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return json.loads(row["value"]) if row else None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            raise StoreError(f"{self.path}: expected the database of a project, found none; create the project first")
        try:
            with closing(_connect(self.path)) as connection:
                _check_version(self.path, connection)
                yield connection
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: expected a database that can be used, found: {error}") from error


class Transaction:
    """Changes to a database; made by `Database.transaction`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put_source(self, source: SourceRow) -> None:
        """Add a datasource or replace what is known about it."""
        self._connection.execute(
            "INSERT INTO sources (name, alias, folder, label_names) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
            "SET alias = excluded.alias, folder = excluded.folder, label_names = excluded.label_names",
            (source.name, source.alias, str(source.folder), _dumped(source.label_names)),
        )

    def put_cases(self, cases: Iterable[CaseRow]) -> None:
        """Add cases, or replace those of the same case id."""
        self._connection.executemany(_INSERT_CASE, [_case_values(case) for case in cases])

    def set_folds(self, folds: Mapping[str, int]) -> None:
        """Assign validation folds by case id."""
        values = [(fold, case_id) for case_id, fold in folds.items()]
        self._connection.executemany("UPDATE datasources SET fold = ? WHERE case_id = ? AND test = 0", values)

    def put_plan(self, name: str, yaml: str, stages: Mapping[str, tuple[str, str]]) -> int:
        """Add a plan and return its id; an equal one keeps its id."""
        values = (name, yaml, _dumped({k: list(v) for k, v in stages.items()}))
        self._connection.execute("INSERT OR IGNORE INTO master_plans (name, yaml, stages) VALUES (?, ?, ?)", values)
        query = "SELECT id FROM master_plans WHERE name = ? AND yaml = ? AND stages = ?"
        return int(self._connection.execute(query, values).fetchone()["id"])

    def put_setting(self, key: str, value: Any) -> None:
        """Store a JSON-able setting."""
        self._connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", (key, json.dumps(value)))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS:d}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    found = _version(connection)
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: expected schema version {SCHEMA_VERSION}, found {found}; use the fran that wrote it, or make the "
            "project anew from its datasources"
        )


def _dumped(content: Any) -> str:
    return json.dumps({str(k): v for k, v in content.items()}, sort_keys=True)


def _int_keys(text: str) -> dict[int, Any]:
    return {int(k): v for k, v in sorted(json.loads(text).items(), key=lambda item: int(item[0]))}


def _stages(text: str) -> dict[str, tuple[str, str]]:
    return {stage: (key, folder) for stage, (key, folder) in json.loads(text).items()}


def _case_values(case: CaseRow) -> dict[str, Any]:
    paths = {name: str(getattr(case, name)) for name in ("image", "lm", "img_symlink", "lm_symlink")}
    lists = {"labels": _dumped(case.labels), "spacing": json.dumps(case.spacing_mm), "size": json.dumps(case.size)}
    rest = {c: getattr(case, c) for c in _CASE_COLUMNS if c not in paths | lists}
    return paths | lists | rest


def _case_row(row: sqlite3.Row) -> CaseRow:
    values = {c: row[c] for c in _CASE_COLUMNS if c != "spacing"}
    paths = {name: Path(row[name]) for name in ("image", "lm", "img_symlink", "lm_symlink")}
    flags = {name: bool(row[name]) for name in ("test", "has_foreground")}
    return CaseRow(
        **values
        | paths
        | flags
        | {"labels": _int_keys(row["labels"]), "spacing_mm": tuple(json.loads(row["spacing"]))}
        | {"size": tuple(json.loads(row["size"]))}
    )
