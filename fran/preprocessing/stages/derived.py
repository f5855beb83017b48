"""Stages that read the case files of the stage before: how their content addresses are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fran.preprocessing.keys import stage_key
from fran.preprocessing.stages.parts import ChildJob
from fran.preprocessing.stages.stage import Made, Stage


@dataclass(frozen=True)
class DerivedStage(ABC):
    """One mode but ``source``; see :class:`fran.preprocessing.stages.stage.Stage` for what each member means.

    Attributes:
        parent: stage whose files are read.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    many_files: ClassVar[bool] = False

    parent: Stage

    @property
    @abstractmethod
    def readable(self) -> str:
        """Beginning of the folder's name."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in which equal meanings are equal."""

    @abstractmethod
    def case_params(self, job: ChildJob) -> dict[str, Any]:
        """The part of :meth:`to_dict` that one case depends on."""

    @abstractmethod
    def process(self, job: ChildJob, key: str, folder: Path) -> Made:
        """Make one case's files.

        Raises:
            FranError: the case cannot be made.
        """

    def key(self) -> str:
        """Content address of the stage with these parameters."""
        return stage_key(self.parent.key(), self.to_dict(), self.version, self.name)

    def case_key(self, job: ChildJob) -> str:
        """Content address of one case; the guide's digest is known."""
        return stage_key(job.origins, self.case_params(job), self.version, self.name)

    def guide_folder(self, datasource: str) -> Path | None:
        """None: the stage reads case files alone."""
        return None
