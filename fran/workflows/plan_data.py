"""The data of a plan in a project: its cases, its stages, and the folders that they lie in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fran.errors import ConfigError, choices
from fran.labels import LabelFlow
from fran.plans.chain import data_stages
from fran.plans.schema import Plan
from fran.workflows.label_flow import label_flow, label_table
from fran.workflows.plans import derived_plan, plan_chain, plan_of

if TYPE_CHECKING:
    from fran.preprocessing.pipeline import Link
    from fran.preprocessing.plan_stages import Context
    from fran.preprocessing.stages.source import CaseJob
    from fran.projects.database import CaseRow
    from fran.projects.folders import ProjectFolders
    from fran.projects.project import Project
    from fran.workflows.entry import Job

log = logging.getLogger("fran.preprocess")

_ROOTS = {"source": "fixed_spacing", "whole": "whole_images"}
_DATASOURCE = "DS."


@dataclass(frozen=True)
class PlanData:
    """What a plan's data are made of, whether they are there yet or not.

    Attributes:
        plan: as composed.
        rows: the project's cases that the plan uses.
        links: its stages with their folders, the first one first.
        flow: the way of its labels.
        valid: the data of its plan_valid.
    """

    plan: Plan
    rows: Sequence[CaseRow]
    links: Sequence[Link]
    flow: LabelFlow
    valid: PlanData | None = None

    @property
    def folder(self) -> Path:
        """Folder of the files that training reads."""
        return self.links[-1].folder

    @property
    def validation(self) -> Path | None:
        """Folder of the files that validation reads, where it is another one: whole cases, or plan_valid's."""
        links = self.links if self.valid is None else self.valid.links
        folder = next(link.folder for link in reversed(links) if not link.stage.many_files)
        return None if folder == self.folder else folder

    def register(self, project: Project) -> None:
        """Write the resolved plan and its stages into the project's table of plans."""
        stages = {link.stage.name: (link.stage.key(), str(link.folder)) for link in self.links}
        project.store_plan(self.plan.plan_name, yaml.safe_dump(asdict(self.plan), sort_keys=False), stages)


def data_of(project: Project, job: Job[Any]) -> PlanData:
    """The data of a job's plan.

    Raises:
        ConfigError: the plan names a datasource, a folder or a run that is not there.
        SettingsFailed: what the plan says about labels cannot work.
    """
    plan = plan_of(job.config)
    if plan.plan_valid is None:
        return plan_data(project, plan_chain(job))
    other = replace(derived_plan(job, plan.plan_valid), plan_valid=None, datasources=plan.datasources)
    valid = replace(job, config=other, choices={**job.choices, "plan": plan.plan_valid})
    return replace(plan_data(project, plan_chain(job)), valid=plan_data(project, plan_chain(valid)))


def plan_data(project: Project, chain: Sequence[Plan]) -> PlanData:
    """The data of a chain of plans, the root first; see :func:`data_of`."""
    from fran.preprocessing.pipeline import Link
    from fran.preprocessing.plan_stages import stages_of

    plan, plans = chain[-1], data_stages(chain)
    flow = label_flow(project, plan, plans)
    stages = stages_of(plans, context_of(project, plans, flow))
    links = [Link(stage, _folder(project.folders, stage)) for stage in stages]
    rows = [row for row in project.cases() if row.ds in flow.baked]
    return PlanData(plan, rows, links, flow)


def raw_jobs(rows: Sequence[CaseRow]) -> list[CaseJob]:
    """Cases as the first stage takes them."""
    from fran.preprocessing.stages.source import CaseJob

    return [CaseJob(r.case_id, r.image, r.lm, r.image_digest, r.lm_digest, r.modality, r.ds) for r in rows]


def properties_of(project: Project, plan: Plan) -> dict[str, Any]:
    """The project's properties as they hold for a plan's data; a plan that clips what networks look at is said.

    Raises:
        ConfigError: the plan clips all of it.
    """
    from fran.augmentation.normalise import within

    before, after = project.properties, within(project.properties, plan.clip_hu)
    if before.get("intensity_clip_range") != after.get("intensity_clip_range"):
        log.warning(
            "clip_hu %s is narrower than the foreground's intensity_clip_range %s: what it cuts off is not seen",
            *(list(plan.clip_hu or ()), before["intensity_clip_range"]),
        )
    return after


def _folder(folders: ProjectFolders, stage: Any) -> Path:
    from fran.preprocessing.stages.stage import folder_of

    kind = _ROOTS.get(stage.name, stage.name)
    return folder_of(getattr(folders, kind, folders.fast / kind), stage)


def context_of(project: Project, plans: Sequence[Plan], flow: LabelFlow) -> Context:
    """What the stages need to know about the project.

    Args:
        project: with its cases.
        plans: one a stage, as `data_stages` gives them.
        flow: of the plan's labels.
    """
    from fran.preprocessing.plan_stages import Context

    datasources = tuple(flow.baked)
    context = Context(datasources, flow.baked)
    cut = next((plan for plan in reversed(plans) if plan.mode in ("lbd", "rbd")), None)
    if cut is None:
        return context
    context = replace(context, imported=imported_folders(project, cut.imported_folder, datasources))
    return context if cut.mode == "lbd" else replace(context, **_guidance(project, cut))


def _guidance(project: Project, plan: Plan) -> dict[str, Any]:
    """What mode ``rbd`` cuts to."""
    localiser = _localiser(project, plan.localiser) if plan.localiser else None
    regions = None
    if plan.localiser_regions is not None and plan.localiser_regions != ["all"]:
        regions = _regions(plan.localiser_regions, localiser)
    return {"localiser": localiser, "regions": regions}


def imported_folders(project: Project, given: Any, datasources: Sequence[str]) -> dict[str, Path]:
    """Folder of imported label maps by datasource, or one under ``"*"``."""
    from fran.preprocessing.relabelling import EVERYBODY

    if given is None:
        return {}
    if isinstance(given, str):
        return {EVERYBODY: _imported_folder(project, given)}
    named: Mapping[str, Any] | None = given if isinstance(given, Mapping) else None
    if named is None:
        if len(given) != len(datasources):
            raise ConfigError(
                f"imported_folder: expected one folder, or one (or null) for each of {', '.join(datasources)}, found"
                f" {len(given)}: {given}"
            )
        named = dict(zip(datasources, given, strict=True))
    return {ds: _imported_folder(project, str(folder)) for ds, folder in named.items() if folder is not None}


def _imported_folder(project: Project, text: str) -> Path:
    if not text.startswith(_DATASOURCE):
        return Path(text).expanduser().absolute()
    name, _, rest = text.removeprefix(_DATASOURCE).partition("/")
    sources = project.database.sources()
    if name not in sources:
        raise ConfigError(f"imported_folder: the project has no datasource '{name}'; {choices(name, list(sources))}")
    return sources[name].folder / rest


def _localiser(project: Project, text: str) -> Path:
    """Folder of a run's predictions, or the folder that is named."""
    of_run = project.folders.predictions / text
    if of_run.is_dir():
        return of_run
    named = Path(text).expanduser().absolute()
    if named.is_dir():
        return named
    title, raw = project.project_title, project.folders.raw_images
    raise ConfigError(
        f"localiser: expected predictions in {of_run}, or a folder of label maps, found neither; predict the project's"
        f" images first: fran infer project={title} 'runs=[{text}]' input={raw} output={of_run}"
    )


def _regions(regions: Sequence[str], localiser: Path | None) -> tuple[int, ...]:
    """Label values of regions: by the names that fran wrote beside the predictions, else by the label table."""
    from fran.preprocessing.guides import predicted_names, region_values

    names = predicted_names(localiser) if localiser is not None else {}
    if names and localiser is not None:
        return region_values(regions, names, localiser)
    table = label_table()
    values = [[int(r)] if str(r).isdigit() else sorted(table.ids(str(r))) for r in regions]
    return tuple(sorted({v for several in values for v in several}))
