"""The data of a plan in a project: its cases, its stages, and the folders that they lie in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fran.errors import ConfigError, choices
from fran.labels import LabelTable, Remapping, parse_remapping
from fran.plans.chain import data_stages
from fran.plans.schema import UNSET, Plan
from fran.workflows.entry import Job
from fran.workflows.locations import conf_dir
from fran.workflows.plans import derived_plan, plan_chain, plan_of

if TYPE_CHECKING:
    from fran.preprocessing.pipeline import Link
    from fran.preprocessing.plan_stages import Context
    from fran.projects.database import CaseRow
    from fran.projects.folders import ProjectFolders
    from fran.projects.project import Project

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
        valid: the data of its plan_valid.
    """

    plan: Plan
    rows: Sequence[CaseRow]
    links: Sequence[Link]
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
        project.add_plan(self.plan.plan_name, yaml.safe_dump(asdict(self.plan), sort_keys=False), stages)


def data_of(project: Project, job: Job[Any]) -> PlanData:
    """The data of a job's plan.

    Raises:
        ConfigError: the plan names a datasource, a folder or a run that is not there.
    """
    from fran.preprocessing.pipeline import Link
    from fran.preprocessing.plan_stages import stages_of

    plan = plan_of(job.config)
    valid = None
    if plan.plan_valid is not None:
        other = replace(derived_plan(job, plan.plan_valid), plan_valid=None, datasources=plan.datasources)
        valid = data_of(project, replace(job, config=other, choices={**job.choices, "plan": plan.plan_valid}))
    plans = data_stages(plan_chain(job))
    stages = stages_of(plans, context_of(project, plans, datasources_of(project, plan)))
    links = [Link(stage, _folder(project.folders, stage)) for stage in stages]
    return PlanData(plan, cases_of(project, plan), links, valid)


def _folder(folders: ProjectFolders, stage: Any) -> Path:
    from fran.preprocessing.stages.stage import folder_of

    kind = _ROOTS.get(stage.name, stage.name)
    return folder_of(getattr(folders, kind, folders.fast / kind), stage)


def datasources_of(project: Project, plan: Plan) -> list[str]:
    """The datasources that a plan uses, in its order.

    Raises:
        ConfigError: one that the project does not have.
    """
    known = project.datasources
    for name in plan.datasources or []:
        if name not in known:
            raise ConfigError(f"datasources: the project has no datasource '{name}'; {choices(name, known)}")
    return known if plan.datasources is None else list(plan.datasources)


def cases_of(project: Project, plan: Plan) -> list[CaseRow]:
    """The project's cases from the plan's datasources.

    Raises:
        ConfigError: the plan names a datasource that the project does not have.
    """
    used = datasources_of(project, plan)
    return [row for row in project.cases() if row.ds in used]


def context_of(project: Project, plans: Sequence[Plan], datasources: Sequence[str]) -> Context:
    """What the stages need to know about the project.

    Args:
        project: with its cases.
        plans: one a stage, as `data_stages` gives them.
        datasources: of the plan, in its order.
    """
    from fran.preprocessing.plan_stages import Context

    cut = next((plan for plan in reversed(plans) if plan.mode in ("lbd", "rbd")), None)
    imported = _imported_folders(project, cut.imported_folder, datasources) if cut else {}
    localiser = _localiser(project, cut.localiser) if cut and cut.mode == "rbd" and cut.localiser else None
    regions = None
    if cut is not None and cut.mode == "rbd" and cut.localiser_regions is not None:
        regions = _regions(cut.localiser_regions, localiser)
    return Context(tuple(datasources), _baked(plans, datasources), imported, localiser, regions)


def _baked(plans: Sequence[Plan], datasources: Sequence[str]) -> dict[str, dict[str, Remapping]]:
    """Datasource → level → remapping."""
    table = label_table()
    baked: dict[str, dict[str, Remapping]] = {ds: {} for ds in datasources}
    for plan in plans:
        levels = {"rbd": ("lbd", "imported"), "lbd": ("lbd", "imported")}.get(plan.mode, (plan.mode,))
        for level in levels:
            key = f"remapping_{level}"
            value = getattr(plan, key, None)
            if value is None or value == UNSET:
                continue
            rest: Any = 0 if level == "imported" else "keep"
            for ds, remapping in parse_remapping(value, datasources, table, rest, key).items():
                if remapping is not None:
                    baked[ds][level] = remapping
    return baked


def label_table() -> LabelTable:
    """The label table that plans refer to as ``TSL.<name>``."""
    return LabelTable.read(conf_dir() / "labels" / "tsl.yaml")


def _imported_folders(project: Project, given: Any, datasources: Sequence[str]) -> dict[str, Path]:
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
