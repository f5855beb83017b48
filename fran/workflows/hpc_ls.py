"""`fran hpc ls`: runs of a project on the cluster, and which of them have a copy here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fran.workflows.entry import Job, run_verb
from fran.workflows.hpc import cluster, needed_settings
from fran.workflows.model_sources import models_folder
from fran.workflows.projects import folders_of
from fran.workflows.schema import HpcConfig
from fran.workflows.terminal import say, say_json, show_table

if TYPE_CHECKING:
    from fran.remote.runs import RemoteRun

COLUMNS = ("run", "best", "last", "changed (UTC)", "copy")


def hpc_ls(job: Job[HpcConfig]) -> None:
    """Print one row for each run."""
    settings, folders = needed_settings(), folders_of(job.config.paths, job.config.project)
    with cluster(settings) as opened:
        from fran.remote.runs import copies_of, copy_state, list_runs

        copies = copies_of(opened, folders.title, models_folder(folders))
        runs = list_runs(opened, folders.title)
        rows = [
            entry(run.name, {n: s.size for n, s in run.files.items()}, _newest(run), copy_state(run, copies))
            for run in runs
        ]
    if job.config.json:
        say_json(rows)
        return
    show_table(f"Runs of project {folders.title} on {settings.place}", COLUMNS, [cells(row) for row in rows])
    say(f"{len(rows)} runs; predict with one: fran infer project={folders.title} 'runs=[NAME]' input=…")


def entry(name: str, sizes: dict[str, int], mtime: int, copy: str) -> dict[str, Any]:
    """A run as plain data."""
    changed = datetime.fromtimestamp(mtime, UTC).isoformat(timespec="seconds")
    return {"run": name, "bytes": sizes, "changed": changed, "copy": copy}


def cells(row: dict[str, Any]) -> list[str]:
    """Cells of `COLUMNS`."""
    sizes = [f"{row['bytes'][n] / 1e6:.1f} MB" if n in row["bytes"] else "" for n in ("best.ckpt", "last.ckpt")]
    return [row["run"], *sizes, row["changed"][:16].replace("T", " "), row["copy"]]


def _newest(run: RemoteRun) -> int:
    return max(state.mtime for state in run.files.values())


def main() -> None:
    """Entry of `fran hpc ls`."""
    run_verb("hpc_ls", HpcConfig, hpc_ls)
