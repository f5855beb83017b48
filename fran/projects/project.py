"""A project: its cases, folds, labels, properties and plans."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.labels import LabelGroups, LabelScheme, check_groups, group_labels, group_names
from fran.parallel.jobs import Execute
from fran.parallel.local import run_jobs
from fran.projects import assignment, statistics
from fran.projects.adding import AddReport, add_datasources
from fran.projects.database import CaseRow, Database, PlanRow
from fran.projects.dropping import DropReport, drop_datasource
from fran.projects.folders import ProjectFolders, check_title
from fran.projects.mask_labels import update_rules
from fran.projects.source_labels import source_labels
from fran.projects.splits import Fold, Split
from fran.projects.splits_file import FileFolds


class Project:
    """One project. Nothing is read or written before a method is called.

    Args:
        project_title: letters, digits and ``_``.
        folders: where its files are.

    Example:
        ``P = Project("kidneys", ProjectFolders("kidneys", projects, cold, rapid)); P.create(); P.add_data([…])``
    """

    def __init__(self, project_title: str, folders: ProjectFolders) -> None:
        check_title(project_title)
        if folders.title != project_title:
            raise ConfigError(f"project folders: expected those of '{project_title}', found '{folders.title}'")
        self.project_title = project_title
        self.folders = folders
        self.database = Database(folders.database)

    def __len__(self) -> int:
        """Number of cases, test cases included."""
        return self.database.count()

    def __bool__(self) -> bool:
        return True

    @property
    def title(self) -> str:
        """`project_title`."""
        return self.project_title

    @property
    def exists(self) -> bool:
        """Whether the project was created."""
        return self.folders.database.exists()

    def create(self, mnemonic: str | None = None) -> None:
        """Make folders and database; a project that exists is left as it is.

        Args:
            mnemonic: short name of the organ or task, kept for people.

        Raises:
            ConfigError: the project exists with another mnemonic.
        """
        self.folders.make()
        self.database.create()
        stored = self.mnemonic
        if mnemonic is None or mnemonic == stored:
            return
        if stored is not None:
            raise ConfigError(
                f"mnemonic: expected '{stored}', that of project {self.project_title}, found '{mnemonic}'"
            )
        with self.database.transaction() as transaction:
            transaction.put_setting("mnemonic", mnemonic)

    @property
    def mnemonic(self) -> str | None:
        """As given to `create`."""
        value = self.database.setting("mnemonic")
        return None if value is None else str(value)

    def add_data(
        self,
        datasources: Sequence[Datasource | Mapping[str, Any]] | Datasource | Mapping[str, Any],
        test: bool | Sequence[bool] = False,
        num_workers: int = 1,
        progress: bool = False,
        execute: Execute = run_jobs,
        strict: bool = False,
    ) -> AddReport:
        """Scan datasources and store their good cases; running it again reads and stores only what changed.

        Args:
            datasources: objects, or dicts with the keys ``ds``, ``folder`` and ``alias``.
            test: whether the cases are kept for testing; one flag, or one a datasource. A datasource declared as
                ``test`` stays one.
            num_workers: processes that read.
            progress: show bars.
            execute: where files are read, see `fran.parallel.backends.backend`.
            strict: a warning leaves its case out, as an error does.

        Returns:
            what was stored and every problem; see `AddReport.raise_for_errors`.

        Raises:
            ConfigError: a datasource cannot be used, or `test` has another length.
        """
        listed = [datasources] if isinstance(datasources, Datasource | Mapping) else list(datasources)
        sources = [Datasource.from_spec(spec) for spec in listed]
        flags = [test] * len(sources) if isinstance(test, bool) else list(test)
        if len(flags) != len(sources):
            raise ConfigError(f"test: expected one flag, or one for each of {len(sources)} datasources, found {flags}")
        pairs = [(source, flag or source.test) for source, flag in zip(sources, flags, strict=True)]
        return add_datasources(self.folders, self.database, pairs, num_workers, progress, execute, strict)

    def drop_data(self, name: str) -> DropReport:
        """Take a datasource out of the project; see `fran.projects.dropping.drop_datasource`.

        Adding it again reads nothing anew; its cases then get folds like new ones.
        """
        return drop_datasource(self.folders, self.database, name)

    def cases(self) -> list[CaseRow]:
        """Every case in order of case id."""
        return self.database.cases()

    def training_cases(self) -> list[CaseRow]:
        """Cases that are not kept for testing."""
        return [case for case in self.cases() if not case.test]

    @property
    def datasources(self) -> list[str]:
        """Names of the datasources that were added."""
        return list(self.database.sources())

    @property
    def labels(self) -> LabelScheme:
        """Labels met in the training cases, as stored in the raw label maps, with their declared names."""
        values = {v for case in self.training_cases() for v in case.labels}
        return LabelScheme.from_values(values, self._label_names())

    @property
    def label_groups(self) -> LabelGroups:
        """The numbering that follows from `set_lm_groups`; one group by default."""
        labels = source_labels(self.cases(), self.database.sources())
        groups = self.database.setting("lm_groups")
        try:
            return group_labels(groups, {source.name: source.known for source in labels})
        except ConfigError as error:
            stored = ",".join(f"[{','.join(group)}]" for group in groups)
            missing = ",".join(ds for ds in self.datasources if not any(ds in group for group in groups))
            command = f"fran project groups project={self.title} 'lm_groups=[{stored},[{missing}]]'"
            raise ConfigError(f"{error}; put it into one, for example: {command}") from error

    @property
    def output_names(self) -> dict[int, str]:
        """Names of the label values after grouping, which are those of predictions."""
        return self._names_of(self.label_groups)

    def set_lm_groups(self, groups: Sequence[Sequence[str]] | None = None) -> LabelGroups:
        """Store which datasources share label values; None is one group with all.

        Raises:
            ConfigError: a datasource is unknown, in two groups, or in none.
        """
        if groups is not None:
            groups = [[group] if isinstance(group, str) else list(group) for group in groups]
            check_groups(groups, self.datasources)
        with self.database.transaction() as transaction:
            transaction.put_setting("lm_groups", groups)
        return self.label_groups

    @property
    def has_folds(self) -> bool:
        """Whether every training case has a fold."""
        cases = self.training_cases()
        return bool(cases) and all(case.fold is not None for case in cases)

    def assign_folds(
        self, n_folds: int | None = None, seed: int | None = None, reassign: bool = False
    ) -> dict[str, int]:
        """Give a fold to the training cases that have none; see `fran.projects.assignment.assign`."""
        return assignment.assign(self.folders, self.database, n_folds, seed, reassign)

    def take_folds(self, path: Path, reassign: bool = False) -> FileFolds:
        """Folds as a splits_final.json has them; see `fran.projects.assignment.take`."""
        return assignment.take(self.folders, self.database, path, reassign)

    def split(self, fold: Fold, datasources: Collection[str] | None = None) -> Split:
        """Cases to train on and to validate with; see `fran.projects.assignment.split`."""
        return assignment.split(self.folders, self.database, fold, datasources)

    def maybe_store_projectwide_properties(
        self, n_folds: int | None = None, seed: int | None = None, reassign: bool = False
    ) -> dict[str, Any]:
        """Assign missing folds, and compute the global properties unless those on disk are of the same cases.

        Writes global_properties.json, validation_folds.json and mask_labels.json (in which rules that are there stay).
        """
        self.assign_folds(n_folds, seed, reassign)
        cases = self.training_cases()
        groups = self.label_groups
        names = self._names_of(groups)
        found = statistics.maybe_store(self.folders, cases, groups.mapping, names)
        update_rules(self.folders.mask_labels, names)
        return found

    @property
    def properties(self) -> dict[str, Any]:
        """Global properties as stored.

        Raises:
            StoreError: they were never computed.
        """
        return statistics.stored(self.folders)

    def store_plan(self, name: str, yaml: str, stages: Mapping[str, tuple[str, str]] | None = None) -> int:
        """Store a resolved plan with ``(key, folder)`` of each stage; an equal one keeps its id.

        Returns:
            the plan's id.
        """
        with self.database.transaction() as transaction:
            return transaction.put_plan(name, yaml, stages or {})

    @property
    def plans(self) -> list[PlanRow]:
        """Plans that were added, oldest first."""
        return self.database.plans()

    def delete(self, results: bool = False) -> None:
        """Remove the project's database, links and preprocessed data; raw data stay.

        Args:
            results: remove predictions and checkpoints too.
        """
        doomed = [self.folders.project, self.folders.raw, self.folders.preprocessed, self.folders.fast]
        if results:
            doomed += [self.folders.predictions, self.folders.checkpoints]
        for folder in doomed:
            if folder.exists():
                shutil.rmtree(folder)

    def _names_of(self, groups: LabelGroups) -> dict[int, str]:
        declared = {name: source.label_names for name, source in self.database.sources().items()}
        return group_names(groups, declared)

    def _label_names(self) -> dict[int, str]:
        """Declared names by value; where datasources differ, the first in alphabetical order."""
        names: dict[int, str] = {}
        for source in self.database.sources().values():
            names = {**source.label_names, **names}
        return names
