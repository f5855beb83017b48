"""A real SQLite store of MLflow, whose tables are made once, and records of runs without any training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fran.tracking.mlflow_logger import ARTIFACTS, client_of, ensure_experiment, sqlite_uri
from fran.tracking.runs import RunRecord, write_record

MakeStore = Callable[[Path], Any]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("template") / "mlflow.db"
    client_of(sqlite_uri(db)).search_experiments(max_results=1)
    return db


@pytest.fixture
def make_store(template: Path) -> MakeStore:
    """Function: folder to (client, URI, experiment id) of a store with the experiment "kits" in it."""

    def make(folder: Path) -> tuple[Any, str, str]:
        folder.mkdir(parents=True, exist_ok=True)
        db = folder / "mlflow.db"
        shutil.copyfile(template, db)
        uri = sqlite_uri(db)
        return client_of(uri), uri, ensure_experiment(uri, "kits", (folder / ARTIFACTS).as_uri())

    return make


@pytest.fixture
def make_record(tmp_path: Path) -> Callable[..., RunRecord]:
    """Function: fold and further fields to a record whose run.json is in its folder."""

    def make(fold: int | str, name: str | None = None, **changed: Any) -> RunRecord:
        place = f"f{fold}" if isinstance(fold, int) else fold
        fields = {
            "project": "kits", "plan": "plan1", "model": "dynunet", "fold": fold, "settings_digest": "5e77",
            "folds_digest": "f01d" * 8, "data_digest": "da7a", "started_at": "2026-01-01", "result": {},
        }  # fmt: skip
        record = RunRecord(tmp_path / "runs" / (name or f"plan1-dynunet-{place}-1"), **{**fields, **changed})
        record.folder.mkdir(parents=True)
        write_record(record)
        return record

    return make
