"""Taking a datasource out of a project."""

from __future__ import annotations

from dataclasses import dataclass

from fran.errors import ConfigError, choices
from fran.projects import links
from fran.projects.adding import finish_links
from fran.projects.assignment import write_mirror
from fran.projects.database import Database, Transaction
from fran.projects.folders import ProjectFolders
from fran.projects.quality import write_qc
from fran.projects.stored import StageFolder, stage_folders

LM_GROUPS = "lm_groups"


@dataclass(frozen=True)
class DropReport:
    """Outcome of `drop_data`.

    Attributes:
        name: of the datasource.
        cases: ids of the cases that left the project.
        unused: preprocessed folders that hold some of them, with those cases; their files stay.
    """

    name: str
    cases: tuple[str, ...]
    unused: tuple[tuple[StageFolder, tuple[str, ...]], ...]


def drop_datasource(folders: ProjectFolders, database: Database, name: str) -> DropReport:
    """Remove a datasource's rows, verdicts and links; raw files, statistics and preprocessed files stay.

    Raises:
        ConfigError: the project has no such datasource.
    """
    with database.transaction() as transaction:
        known = list(transaction.sources())
        if name not in known:
            raise ConfigError(f"datasource: project {folders.title} has none called '{name}'; {choices(name, known)}")
        cases = transaction.cases()
        before = links.targets(cases)
        links.recover(folders.link_journal, transaction.raw_file_of)
        kept = [case for case in cases if case.ds != name]
        with links.changing(folders.link_journal, before, links.targets(kept)) as changed:
            transaction.drop_source(name)
            _forget_group(transaction, name)
            write_qc(folders.quality, transaction)
            write_mirror(folders, transaction)
    if changed:
        finish_links(folders, database)
    dropped = tuple(case.case_id for case in cases if case.ds == name)
    holding = ((stage, tuple(sorted(stage.cases & set(dropped)))) for stage in stage_folders(folders))
    return DropReport(name, dropped, tuple((stage, held) for stage, held in holding if held))


def _forget_group(transaction: Transaction, name: str) -> None:
    groups = transaction.setting(LM_GROUPS)
    if groups is not None:
        left = [[ds for ds in group if ds != name] for group in groups]
        transaction.put_setting(LM_GROUPS, [group for group in left if group] or None)
