"""fran for scripts: projects, registered datasources and plans, without a command line.

The names and calls are those of the older program; folders, registry and plans come from the same configuration files
as those of the commands.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from fran.datasources.datasource import Datasource
from fran.errors import CasesFailed, ConfigError, choices, raise_for_settings
from fran.projects import project as projects
from fran.projects.adding import AddReport
from fran.projects.folders import ProjectFolders, check_title
from fran.workflows.composition import search_folders
from fran.workflows.entry import Job, compose_job, problems
from fran.workflows.plan_files import plan_names
from fran.workflows.plans import plan_chain, plan_of, typed_plan
from fran.workflows.projects import folders_of
from fran.workflows.registry import register
from fran.workflows.schema import InitConfig, PreprocessVerbConfig, ProjectConfig, UiConfig

log = logging.getLogger("fran.api")

SPACES = "space"
EXCEL = (".xlsx", ".xls", ".xlsm")


class UnknownName(ConfigError, AttributeError):
    """Nothing is registered under a name."""


class Project(projects.Project):
    """A project in the folders that the configuration names: conf/paths, ``$FRAN_HOME``, ``$FRAN_COMMON_PATHS``.

    Args:
        project_title: letters, digits and ``_``.
        folders: where its files are, where the configuration shall not decide.

    Example:
        ``P = fran.Project(project_title="kidneys"); P.create(); P.add_data([fran.DS.kits])``
    """

    def __init__(self, project_title: str, folders: ProjectFolders | None = None) -> None:
        check_title(project_title)
        self._configured = folders is None
        super().__init__(project_title, folders or configured_folders(project_title))

    def create(self, mnemonic: str | None = None) -> None:
        """As `fran.projects.project.Project.create`; commands know the project afterwards as ``project=<title>``."""
        super().create(mnemonic)
        if self._configured:
            register(ProjectConfig(self.project_title, mnemonic), {})

    def add_data(self, *args: Any, **kwargs: Any) -> AddReport:
        """As `fran.projects.project.Project.add_data`; what was left out is logged too: scripts look at no report."""
        report = super().add_data(*args, **kwargs)
        try:
            report.raise_for_errors()
        except CasesFailed as error:
            log.error("%s", error)
        return report

    def add_plan(self, plan: Mapping[str, Any]) -> int:
        """Keep a plan in the project's table master_plans, with content address and folder of each of its stages.

        Args:
            plan: as in ``ConfigMaker(P).config["plan1"]``; keys may be changed.

        Returns:
            the plan's id; an equal plan keeps its id.

        Raises:
            ConfigError: an unknown key, a wrong type, or everything that is impossible about the plan.
        """
        from fran.workflows.plan_status import stage_states

        job = _job_of(self.project_title, plan)
        raise_for_settings([replace(p, set_in="") for p in problems(job)])
        own = plan_of(job.config)
        text = yaml.safe_dump(asdict(own), sort_keys=False, allow_unicode=True)
        stages = {
            stage.mode: (stage.key, str(stage.folder)) for stage in stage_states(plan_chain(job), self) if stage.folder
        }
        return self.store_plan(own.plan_name, text, stages)


def configured_folders(title: str) -> ProjectFolders:
    """Where the configuration puts a project's files."""
    # the smallest of the configurations that know paths and project
    config = compose_job("ui", UiConfig, project_overrides(title)).config
    return folders_of(config.paths, config.project)


def project_overrides(title: str) -> list[str]:
    """Overrides that choose a project, which may have a configuration file of its own or not."""
    if any((folder / "project" / f"{title}.yaml").is_file() for folder in search_folders()):
        return [f"project={title}"]
    return ["project=_new", f"project.title={title}"]


def _job_of(title: str, plan: Mapping[str, Any]) -> Job[PreprocessVerbConfig]:
    """The preprocessing job of a plan given as values."""
    name = str(plan.get("plan_name"))
    known = name in plan_names(search_folders())
    job = compose_job(
        "preprocess", PreprocessVerbConfig, [*project_overrides(title), *([f"plan={name}"] if known else [])]
    )
    return replace(job, config=replace(job.config, **vars(typed_plan(dict(plan), job.plain))))


class Datasources:
    """The registered datasources, conf/datasource/<name>.yaml, by attribute or item.

    Example:
        ``DS.kits``, ``DS["kits"]``, ``list(DS)``
    """

    def __getattr__(self, name: str) -> Datasource:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Datasource:
        if name not in list(self):
            where = "fran init -t <title> -i <folder> registers one, as does a file conf/datasource/<name>.yaml"
            raise UnknownName(f"DS.{name}: no such datasource; {choices(name, list(self)) if list(self) else where}")
        entries = compose_job("init", InitConfig, ["project=_new", "project.title=any", f"datasource=[{name}]"])
        listed = entries.config.datasource
        entry = listed.get(name) or next(iter(listed.values()))
        return Datasource(**{**vars(entry), "name": name, "folder": Path(entry.folder)})

    def __iter__(self) -> Iterator[str]:
        found = {file.stem for folder in search_folders() for file in (folder / "datasource").glob("*.yaml")}
        return iter(sorted(found))

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __dir__(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        return f"DS({', '.join(self)})"


DS = Datasources()


class Plans(Mapping[str, dict[str, Any]]):
    """Every plan of the configuration by name, composed when it is asked for; each is a plain dict of its own."""

    def __init__(self, overrides: list[str]) -> None:
        self._overrides = overrides

    def __getitem__(self, name: str) -> dict[str, Any]:
        if name not in list(self):
            raise ConfigError(f"config['{name}']: no such plan; {choices(name, list(self))}")
        job = compose_job("preprocess", PreprocessVerbConfig, [*self._overrides, f"plan={name}"])
        return asdict(plan_of(job.config))

    def __iter__(self) -> Iterator[str]:
        return iter(plan_names(search_folders()))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(self)


class ConfigMaker:
    """The plans of the configuration, for scripts.

    Args:
        project: whose configuration file and folders values may refer to.
        raytune: ask for the search spaces too; see `search_spaces`.
        configuration_filename: unused by default. A workbook of the older program has to be imported first.

    Raises:
        ConfigError: `configuration_filename` is given, or there is no search space where `raytune` asks for one.

    Example:
        ``plan = ConfigMaker(P, raytune=False, configuration_filename=None).config["plan1"]; P.add_plan(plan)``
    """

    def __init__(
        self, project: projects.Project, raytune: bool = False, configuration_filename: str | Path | None = None
    ) -> None:
        if configuration_filename is not None:
            raise ConfigError(_no_file(Path(configuration_filename)))
        self.project = project
        self.config = Plans(project_overrides(project.project_title))
        if raytune and not self.search_spaces:
            raise ConfigError(
                f"raytune: expected a search space in conf/{SPACES}/<name>.yaml, found none; import a workbook with "
                "tune columns (python scripts/import_excel.py <workbook> --out <folder>), or leave raytune=False"
            )

    @property
    def search_spaces(self) -> dict[str, Path]:
        """Files of the search spaces by name; those of a stronger folder win."""
        folders = reversed(search_folders())
        return {file.stem: file for folder in folders for file in sorted((folder / SPACES).glob("*.yaml"))}


def _no_file(path: Path) -> str:
    if path.suffix.lower() in EXCEL:
        step = (
            f"import it once: python scripts/import_excel.py {path} --out <folder>, and name <folder>/conf in FRAN_CONF"
        )
    else:
        step = "name the folder of your own configuration in FRAN_CONF, or put plans into conf/plan below FRAN_HOME"
    return f"configuration_filename: expected None, found {path}; {step}"
