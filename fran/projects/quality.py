"""qc.json: what the last check of each datasource found, for people and for other programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from fran.io.files import write_json
from fran.projects.database import Transaction

_RANK = ("ok", "note", "warning", "error")


def write_qc(path: Path, transaction: Transaction) -> None:
    """Write every verdict: the worst of each case, how many cases there are of each, and all problems in full."""
    verdicts = transaction.verdicts()
    worst = {case_id: "ok" for case_id, *_ in transaction.places()}
    for verdict in verdicts:
        problem = verdict.problem
        if problem.case_id != verdict.ds:
            worst[problem.case_id] = max(worst.get(problem.case_id, "ok"), problem.severity, key=_RANK.index)
    counts = Counter(worst.values())
    content = {
        "counts": {severity: counts[severity] for severity in _RANK},
        "cases": worst,
        "problems": [{"datasource": v.ds, **asdict(v.problem)} for v in verdicts],
    }
    write_json(path, content)
