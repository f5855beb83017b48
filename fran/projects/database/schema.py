"""Tables of cases.db, and the way from each older version to this one."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from fran.errors import StoreError

SCHEMA_VERSION = 2

_SOURCES_2 = """
ALTER TABLE sources ADD COLUMN annotated TEXT;
ALTER TABLE sources ADD COLUMN ds_type TEXT NOT NULL DEFAULT 'full' CHECK (ds_type IN ('full', 'patch'));
ALTER TABLE sources ADD COLUMN test INTEGER NOT NULL DEFAULT 0 CHECK (test IN (0, 1));
ALTER TABLE sources ADD COLUMN modality TEXT;
ALTER TABLE sources ADD COLUMN patient_pattern TEXT;
ALTER TABLE datasources ADD COLUMN image_content TEXT NOT NULL DEFAULT '';
ALTER TABLE datasources ADD COLUMN lm_content TEXT NOT NULL DEFAULT '';
CREATE TABLE verdicts (
    ds TEXT NOT NULL REFERENCES sources (name) ON DELETE CASCADE,
    case_id TEXT NOT NULL,
    path TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('note', 'warning', 'error')),
    what TEXT NOT NULL,
    expected TEXT NOT NULL,
    found TEXT NOT NULL,
    next_step TEXT NOT NULL
);
CREATE INDEX verdicts_by_ds ON verdicts (ds);
"""

_TABLES_1 = """
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


def make_tables(path: Path, connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file, or bring an older file to `SCHEMA_VERSION`, in one transaction.

    Raises:
        StoreError: the file was written by a newer fran.
    """
    if version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = version(connection)  # another process may have been quicker
        if found == 0:
            _run(connection, _TABLES_1)
        if found in (0, 1):
            _run(connection, _SOURCES_2)
            _fill_version_2(connection)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    found = version(connection)
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: expected schema version {SCHEMA_VERSION} or older, found {found}; use the fran that wrote it, or "
            "make the project anew from its datasources"
        )


def version(connection: sqlite3.Connection) -> int:
    """Schema version of the file, 0 while it is empty."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";")):
        connection.execute(statement)  # executescript would commit on its own


def _fill_version_2(connection: sqlite3.Connection) -> None:
    """What version 1 did not write down: test flags of datasources, and how many folds there are."""
    connection.execute(
        "UPDATE sources SET test = 1 WHERE EXISTS (SELECT 1 FROM datasources WHERE ds = name AND test = 1)"
    )
    folds = connection.execute("SELECT count(*), max(fold) FROM datasources WHERE fold IS NOT NULL").fetchone()
    if folds[0]:
        # version 1 filled folds evenly: some are empty only where there were fewer cases than the usual five folds
        n_folds = folds[1] + 1 if folds[0] >= 5 else max(folds[1] + 1, 5)
        value = json.dumps({"n_folds": n_folds, "seed": 0})
        connection.execute("INSERT OR IGNORE INTO settings (key, value) VALUES ('folds', ?)", (value,))
