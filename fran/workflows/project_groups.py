"""`fran project groups`: say which datasources share the meaning of their label values."""

from __future__ import annotations

from fran.workflows.entry import Job, run_verb
from fran.workflows.projects import existing_project
from fran.workflows.schema import ProjectGroupsConfig
from fran.workflows.terminal import say, say_json, show_table


def project_groups(job: Job[ProjectGroupsConfig]) -> None:
    """Store the groups, where some are given, and print the numbering that follows."""
    config = job.config
    project = existing_project(config.paths, config.project)
    if config.lm_groups is not None or config.one_group:
        project.set_lm_groups(config.lm_groups)
        if any(case.has_foreground for case in project.training_cases()):
            project.maybe_store_projectwide_properties()
    groups, names = project.label_groups, project.output_names
    if config.json:
        labels = [
            {"output": new, "name": names[new], "raw": old, "datasources": groups.groups[group]}
            for new, (group, old) in groups.origin.items()
        ]
        say_json({"groups": groups.groups, "labels": labels})
        return
    rows = [(" ".join(groups.groups[group]), old, new, names[new]) for new, (group, old) in groups.origin.items()]
    show_table("Labels", ("datasources of the group", "in the files", "output", "name"), rows)
    say(f"\nrules of post-processing: {project.folders.mask_labels}")


def main() -> None:
    """Entry of `fran project groups`."""
    run_verb("project_groups", ProjectGroupsConfig, project_groups)
