"""What `fran doctor` looks at in MLflow: SQLite stores, and the server that is to be used."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from fran.tracking.mlflow_logger import AWAY
from fran.workflows.findings import Finding, Findings

PATIENCE_S = 3.0
LOCKED_S = 1.0


def sqlite_stores(stores: Iterable[Path]) -> Findings:
    """Stores of projects: readable, not locked, of the schema that the installed MLflow wants."""
    stores = sorted(stores)
    found = [finding for store in stores if (finding := sqlite_store(store)) is not None]
    yield from found
    if not found:
        yield Finding("MLflow stores", f"{len(stores)}, as they should be" if stores else "none yet")


def sqlite_store(store: Path) -> Finding | None:
    """What is wrong with one store."""
    name = f"MLflow store {store}"
    if not os.access(store, os.W_OK):
        return Finding(name, "cannot be written to", "problem", f"chown or chmod {store} and its folder")
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=rw", uri=True, timeout=LOCKED_S, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            revision = str(db.execute("SELECT version_num FROM alembic_version").fetchone()[0])
            db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            step = f"fuser {store} names the process; end it, or give each job a store: tracking=offline"
            return Finding(name, f"locked by another process for more than {LOCKED_S:g} s", "problem", step)
        return Finding(name, f"is no store of MLflow: {error}", "problem", f"move {store} away; a new one is made")
    except (sqlite3.DatabaseError, TypeError) as error:
        return Finding(name, f"damaged: {error}", "problem", f"restore {store} from a copy, or move it away")
    return of_revision(name, revision, store)


def of_revision(name: str, revision: str, store: Path) -> Finding | None:
    """What a store's schema means for the installed MLflow; nothing where they fit."""
    known, heads = revisions()
    if not heads or revision in heads:
        return None
    if revision in known:
        step = f"copy the file, then: mlflow db upgrade sqlite:///{store}"
        return Finding(name, f"of an older MLflow (schema {revision})", "problem", step)
    return Finding(name, f"of a newer MLflow (schema {revision})", "problem", "pip install --upgrade mlflow")


def revisions() -> tuple[set[str], set[str]]:
    """Schemas that the installed MLflow knows, and the newest; read from its files, for importing it takes seconds."""
    spec = find_spec("mlflow")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    known, parents = set[str](), set[str]()
    for file in (file for folder in folders for file in Path(folder, "store/db_migrations/versions").glob("*.py")):
        text = file.read_text(encoding="utf-8")
        known |= set(re.findall(r"^revision(?:: str)? = [\"'](\w+)", text, re.MULTILINE))
        parents |= set(re.findall(r"^down_revision\b.* = [\"'](\w+)", text, re.MULTILINE))
    return known, known - parents


def server(uri: str | None) -> Findings:
    """The store of the settings, where it is not a file of the project's own."""
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
    if elsewhere and elsewhere != uri:
        yield Finding("MLFLOW_TRACKING_URI", f"{elsewhere}; fran does not read it", "note", f"tracking.uri={elsewhere}")
    if uri is None or uri == "offline" or uri.startswith("sqlite:"):
        return
    if uri.startswith(("http://", "https://")):
        yield _http(uri)
        return
    address = urlsplit(uri)
    try:
        socket.create_connection((address.hostname or "localhost", address.port or 5432), PATIENCE_S).close()
    except OSError as error:
        where = f"{address.hostname}:{address.port or 5432}"
        yield Finding("MLflow database", f"nothing answers at {where}: {error}", "problem", AWAY)
        return
    yield Finding("MLflow database", f"{address.scheme} at {address.hostname} answers")


def _http(uri: str) -> Finding:
    name = f"MLflow server {uri}"
    try:
        _get(f"{uri.rstrip('/')}/health")
        version = _get(f"{uri.rstrip('/')}/version")
    except HTTPError as error:
        if error.code in (401, 403):
            step = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            return Finding(name, f"refuses: {error.code} {error.reason}", "problem", step)
        step = "is this the address of an MLflow server, with its path?"
        return Finding(name, f"answers {error.code} {error.reason}, as no MLflow server does", "problem", step)
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(name, f"does not answer within {PATIENCE_S:g} s: {reason}", "problem", AWAY)
    return Finding(name, f"answers, MLflow {version[:20]}")


def _get(address: str) -> str:
    with urlopen(Request(address, headers={"User-Agent": "fran"}), timeout=PATIENCE_S) as answer:
        return str(answer.read(200).decode(errors="replace")).strip()
