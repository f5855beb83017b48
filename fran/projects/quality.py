"""qc.json of a project: what the last check of each datasource found."""

from __future__ import annotations

from pathlib import Path

from fran.datasources import verdicts
from fran.datasources.verdicts import VERDICTS, Quality
from fran.projects.database import Transaction


def write_qc(path: Path, transaction: Transaction) -> None:
    """Write every stored verdict, in the form of `fran.datasources.verdicts.write_qc`."""
    cases = {case_id: "ok" for case_id, *_ in transaction.places()}
    found = [(verdict.ds, verdict.problem) for verdict in transaction.verdicts()]
    for ds, problem in found:
        if problem.case_id != ds:
            worst = max(cases.get(problem.case_id, "ok"), problem.severity, key=VERDICTS.index)
            cases[problem.case_id] = worst
    verdicts.write_qc(path, Quality(dict(sorted(cases.items())), found))
