"""`fran score`: predictions against references."""

from __future__ import annotations

import logging
from pathlib import Path

from fran.workflows.entry import Job, run_verb
from fran.workflows.schema import ScoreConfig, label_names

log = logging.getLogger("fran.score")


def score(job: Job[ScoreConfig]) -> None:
    """Score, show the table, write it as CSV and JSON; references without a score are an error at the end."""
    from fran.errors import CasesFailed
    from fran.evaluation.report import show_scores, write_scores
    from fran.evaluation.scoring import score_folder
    from fran.workflows.terminal import counting

    config = job.config
    with counting("score") as on_case:
        table = score_folder(Path(config.pred), Path(config.gt), label_names(config.labels), on_case, config.datasource)
    show_scores(table)
    csv_path, json_path = write_scores(table, Path(config.output or config.pred))
    log.info("written: %s and %s", csv_path, json_path.name)
    if table.errors:
        raise CasesFailed(f"{table.n_unscored} of {table.n_references} references could not be scored", table.errors)


def main() -> None:
    """Entry of `fran score` and scripts/score.py."""
    run_verb("score", ScoreConfig, score)
