"""The file behind a project: versions, verdicts, and what cannot be stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import CaseProblem, StoreError
from fran.projects.database import SCHEMA_VERSION, Database, SourceRow, Verdict
from fran.projects.project import Project

# as version 1 of the schema made it
VERSION_1 = """
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


def version_1_file(path: Path, folds: tuple[int | None, ...], test: tuple[bool, ...] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(VERSION_1)
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO settings VALUES ('mnemonic', '\"kidneys\"')")
        connection.execute("INSERT INTO sources VALUES ('kits', NULL, '/raw/kits', '{\"1\": \"kidney\"}')")
        for k, fold in enumerate(folds):
            name = f"kits_{k:02d}"
            paths = [f"/{folder}/{name}.nii.gz" for folder in ("i", "l", "li", "ll")]
            values = (name, "kits", None, *paths, fold, int(k < len(test) and test[k]), '{"1": 7}', 1)
            rest = ("[0.9, 2.0, 1.1]", "[6, 10, 8]", f"d{k}", f"e{k}", name, "CT")
            marks = ", ".join("?" * (len(values) + len(rest)))
            connection.execute(f"INSERT INTO datasources VALUES ({marks})", values + rest)
        connection.execute("INSERT INTO master_plans (name, yaml, stages) VALUES ('plan1', 'a: 1', '{}')")
        connection.commit()
    return path


def source(name: str = "kits") -> SourceRow:
    return SourceRow(name, None, Path("/raw") / name, {1: "kidney"}, (1, 3), "patch", True, "MR", r"(\d+)")


def problem(case_id: str, severity: str = "warning") -> CaseProblem:
    return CaseProblem(case_id, f"/raw/{case_id}.nii.gz", "spacing", "1", "2", "mend it", severity)  # type: ignore[arg-type]


def test_version_1_is_brought_up_to_date_with_everything_in_it(tmp_path: Path) -> None:
    path = version_1_file(tmp_path / "cases.db", (0, 1, 2, 0, 1, None), (False,) * 5 + (True,))
    database = Database(path)
    cases = database.cases()
    assert [(c.case_id, c.fold, c.test, c.labels) for c in cases[-2:]] == [
        ("kits_04", 1, False, {1: 7}),
        ("kits_05", None, True, {1: 7}),
    ]
    assert (cases[0].image_content, cases[0].spacing_mm) == ("", (0.9, 2.0, 1.1))
    kits = database.sources()["kits"]
    assert kits == SourceRow("kits", None, Path("/raw/kits"), {1: "kidney"}, test=True)
    assert database.setting("mnemonic") == "kidneys"
    assert [p.name for p in database.plans()] == ["plan1"]
    assert database.verdicts() == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("folds", "n_folds"), [((0, 1, 2, 0, 1, 2), 3), ((0, 1), 5), ((0, 1, 2, 3, 4, 5), 6), ((None, None), None)]
)
def test_number_of_folds_is_worked_out(tmp_path: Path, folds: tuple[int | None, ...], n_folds: int | None) -> None:
    stored = Database(version_1_file(tmp_path / "cases.db", folds)).setting("folds")
    assert (stored and stored["n_folds"]) == n_folds


def test_new_file_and_migrated_file_have_the_same_tables(tmp_path: Path) -> None:
    Database(new := tmp_path / "new.db").create()
    Database(old := version_1_file(tmp_path / "old.db", (0,))).create()
    tables = []
    for path in (new, old):
        with closing(sqlite3.connect(path)) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
            columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
            tables.append(columns)
    assert tables[0] == tables[1]


def test_failed_migration_leaves_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = version_1_file(tmp_path / "cases.db", (0, 1))

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fran.projects.database.schema._fill_version_2", fail)
    with pytest.raises(KeyboardInterrupt):
        Database(path).cases()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'").fetchall()
    monkeypatch.undo()
    assert len(Database(path).cases()) == 2


def test_source_with_everything_declared_comes_back(project: Project) -> None:
    with project.database.transaction() as transaction:
        transaction.put_source(source())
    assert project.database.sources() == {"kits": source()}


def test_verdicts_of_a_datasource_are_replaced(project: Project) -> None:
    with project.database.transaction() as transaction:
        for name in ("kits", "lits"):
            transaction.put_source(source(name))
            transaction.put_verdicts(name, [problem(f"{name}_1"), problem(f"{name}_0", "error")])
    with project.database.transaction() as transaction:
        transaction.put_verdicts("kits", [problem("kits_2", "note")])
    assert project.database.verdicts("kits") == [Verdict("kits", problem("kits_2", "note"))]
    assert [v.problem.case_id for v in project.database.verdicts()] == ["kits_2", "lits_1", "lits_0"]


def test_dropped_source_takes_its_cases_and_verdicts_along(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    with project.database.transaction() as transaction:
        transaction.put_verdicts("kits", [problem("kits_0")])
        transaction.drop_source("kits")
    assert (len(project), project.datasources, project.database.verdicts()) == (0, [], [])


def test_case_of_an_unknown_datasource_cannot_be_stored(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    cases = project.cases()
    with pytest.raises(StoreError, match="FOREIGN KEY"), project.database.transaction() as transaction:
        transaction.drop_source("kits")
        transaction.put_cases(cases)
    assert project.cases() == cases
