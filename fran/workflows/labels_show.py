"""`fran labels show`: the way of every label of a plan, from raw files to the network's channels."""

from __future__ import annotations

from dataclasses import asdict

from fran.labels import LabelFlow, LabelRow
from fran.plans.chain import data_stages
from fran.workflows.entry import Job, run_verb
from fran.workflows.label_flow import label_flow, partly_annotated
from fran.workflows.plans import plan_chain
from fran.workflows.projects import existing_project
from fran.workflows.schema import LabelsShowConfig
from fran.workflows.terminal import say, say_json, show_table

COLUMNS = ("datasource", "in its files", "stored", "output", "channel", "class", "annotated")


def labels_show(job: Job[LabelsShowConfig]) -> None:
    """Print one row for each label of each datasource, and what a reader might miss."""
    config = job.config
    project = existing_project(config.paths, config.project)
    flow = label_flow(project, config, data_stages(plan_chain(job)))
    if config.json:
        found = [{"value": v, "name": flow.scheme.names[v]} for v in flow.scheme.values]
        labels = [asdict(row) for row in flow.describe()]
        say_json({"plan": config.plan_name, "classes": found, "labels": labels, "notes": flow.notes})
        return
    show_table(f"Labels of project {project.title} under plan {config.plan_name}", COLUMNS, rows(flow))
    say("")
    classes = ", ".join(f"{v} {flow.scheme.names[v]}" for v in flow.scheme.values)
    say(f"{len(flow.scheme.values)} classes in predictions: {classes or 'none'}")
    for line in partly_annotated(flow):
        say(line)
    for note in flow.notes:
        say(f"note: {note}")


def rows(flow: LabelFlow) -> list[list[str]]:
    """Cells of the table."""
    return [_cells(row) for row in flow.describe()]


def _cells(row: LabelRow) -> list[str]:
    raw = f"{row.raw} {row.raw_name}".strip() + (" (imported)" if row.imported else "")
    end = [str(row.output), str(row.channel), row.name] if row.output else ["0", "0", "(background)"]
    return [row.datasource, raw, str(row.stored), *end, "yes" if row.annotated else "no"]


def main() -> None:
    """Entry of `fran labels show`."""
    run_verb("labels_show", LabelsShowConfig, labels_show)
