"""Reading and changing cases.db. Every change is one transaction; readers are never held up (WAL)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fran.errors import CaseProblem, StoreError
from fran.projects.database import rows
from fran.projects.database.rows import CASE_COLUMNS, SOURCE_COLUMNS, VERDICT_COLUMNS
from fran.projects.database.schema import make_tables

_BUSY_MS = 60_000


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{c}' for c in columns)})"


_PUT_CASE = _insert("datasources", CASE_COLUMNS)
_PUT_VERDICT = _insert("verdicts", ("ds", *VERDICT_COLUMNS))
_PUT_SOURCE = (
    f"{_insert('sources', SOURCE_COLUMNS)} ON CONFLICT (name) DO UPDATE "
    f"SET {', '.join(f'{c} = excluded.{c}' for c in SOURCE_COLUMNS[1:])}"
)


class Database:
    """cases.db of one project. Holds no open connection, so it can be pickled and used from several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the file and its tables where there are none; a file of an older version is brought up to date.

        Raises:
            StoreError: the file was written by a newer fran, or is no database.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connected() as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Everything done with the yielded object is kept together, or, after an exception, not at all.

        One process at a time is inside; the others wait.
        """
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def cases(self) -> list[rows.CaseRow]:
        """Every case in order of case id."""
        with self._opened() as connection:
            return Reader(connection).cases()

    def count(self) -> int:
        """Number of cases."""
        with self._opened() as connection:
            return int(connection.execute("SELECT count(*) FROM datasources").fetchone()[0])

    def sources(self) -> dict[str, rows.SourceRow]:
        """Datasources by name."""
        with self._opened() as connection:
            return Reader(connection).sources()

    def verdicts(self, ds: str | None = None) -> list[rows.Verdict]:
        """What the last `add_data` of each datasource, or of one, found; in the order in which it was found."""
        with self._opened() as connection:
            return Reader(connection).verdicts(ds)

    def plans(self) -> list[rows.PlanRow]:
        """Plans in the order in which they were added."""
        with self._opened() as connection:
            found = connection.execute("SELECT * FROM master_plans ORDER BY id").fetchall()
        return [rows.plan_row(row) for row in found]

    def setting(self, key: str) -> Any:
        """A stored setting, or None."""
        with self._opened() as connection:
            return Reader(connection).setting(key)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            raise StoreError(f"{self.path}: expected the database of a project, found none; create the project first")
        with self._connected() as connection:
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(_connect(self.path)) as connection:
                make_tables(self.path, connection)
                yield connection
        except sqlite3.DatabaseError as error:
            step = "" if not _is_busy(error) else "; another process works on the project: try again when it is done"
            raise StoreError(f"{self.path}: expected a database that can be used, found: {error}{step}") from error


class Reader:
    """Queries over one open connection: they see what its transaction has changed so far."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def cases(self) -> list[rows.CaseRow]:
        """Every case in order of case id."""
        query = f"SELECT {', '.join(CASE_COLUMNS)} FROM datasources ORDER BY case_id"
        return [rows.case_row(row) for row in self._connection.execute(query).fetchall()]

    def places(self) -> list[tuple[str, int | None, bool]]:
        """(Case id, fold, test) of every case, in order of case id: much quicker than whole rows."""
        found = self._connection.execute("SELECT case_id, fold, test FROM datasources ORDER BY case_id").fetchall()
        return [(row["case_id"], row["fold"], bool(row["test"])) for row in found]

    def raw_file_of(self, link: Path) -> Path | None:
        """Raw file that a link should lead to, or None where no case has the link."""
        query = (
            "SELECT image FROM datasources WHERE img_symlink = :link "
            "UNION ALL SELECT lm FROM datasources WHERE lm_symlink = :link"
        )
        row = self._connection.execute(query, {"link": str(link)}).fetchone()
        return Path(row[0]) if row else None

    def sources(self) -> dict[str, rows.SourceRow]:
        """Datasources by name."""
        query = f"SELECT {', '.join(SOURCE_COLUMNS)} FROM sources ORDER BY name"
        return {row["name"]: rows.source_row(row) for row in self._connection.execute(query).fetchall()}

    def verdicts(self, ds: str | None = None) -> list[rows.Verdict]:
        """Verdicts of all datasources, or of one."""
        query = f"SELECT ds, {', '.join(VERDICT_COLUMNS)} FROM verdicts WHERE ? IS NULL OR ds = ? ORDER BY ds, rowid"
        return [rows.verdict(row) for row in self._connection.execute(query, (ds, ds)).fetchall()]

    def setting(self, key: str) -> Any:
        """A stored setting, or None."""
        row = self._connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return json.loads(row["value"]) if row else None


class Transaction(Reader):
    """Changes to a database; made by `Database.transaction`."""

    def put_source(self, source: rows.SourceRow) -> None:
        """Add a datasource or replace what is known about it."""
        self._connection.execute(_PUT_SOURCE, rows.source_values(source))

    def put_cases(self, cases: Iterable[rows.CaseRow]) -> None:
        """Add cases, or replace those of the same case id."""
        values = [rows.case_values(case) for case in cases]
        # removed first: two folders may have changed places, and paths are unique
        self._connection.executemany("DELETE FROM datasources WHERE case_id = :case_id", values)
        self._connection.executemany(_PUT_CASE, values)

    def put_verdicts(self, ds: str, problems: Iterable[CaseProblem]) -> None:
        """Replace what is known about a datasource's quality."""
        self._connection.execute("DELETE FROM verdicts WHERE ds = ?", (ds,))
        self._connection.executemany(_PUT_VERDICT, [rows.verdict_values(ds, problem) for problem in problems])

    def drop_source(self, name: str) -> None:
        """Remove a datasource with its cases and verdicts."""
        self._connection.execute("DELETE FROM datasources WHERE ds = ?", (name,))
        self._connection.execute("DELETE FROM sources WHERE name = ?", (name,))

    def set_folds(self, folds: Mapping[str, int]) -> None:
        """Assign validation folds by case id."""
        values = [(fold, case_id) for case_id, fold in folds.items()]
        self._connection.executemany("UPDATE datasources SET fold = ? WHERE case_id = ? AND test = 0", values)

    def forget_folds(self) -> None:
        """Take every case out of its fold."""
        self._connection.execute("UPDATE datasources SET fold = NULL")

    def put_plan(self, name: str, yaml: str, stages: Mapping[str, tuple[str, str]]) -> int:
        """Add a plan and return its id; an equal one keeps its id."""
        values = (name, yaml, rows.dumped({k: list(v) for k, v in stages.items()}))
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


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
