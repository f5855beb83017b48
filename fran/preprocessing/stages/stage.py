"""What a stage is: parameters that name what it makes, and one case in, one or more files out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from fran.errors import CaseProblem

JobT = TypeVar("JobT", bound="Job")


class Job(Protocol):
    """One case and the files that it is made from."""

    @property
    def case_id(self) -> str:
        """The project's id of the case."""

    @property
    def datasource(self) -> str:
        """Name of the datasource."""

    @property
    def image(self) -> Path:
        """The raw image, by which a user knows the case."""

    @property
    def has_digests(self) -> bool:
        """Whether the content address can be told without reading a file."""

    def with_digests(self: JobT) -> JobT:
        """The job with the digest of every input.

        Raises:
            DataError: an input cannot be read.
        """


@dataclass(frozen=True)
class Made:
    """What a stage made of one case.

    Attributes:
        files: case files, in a fixed order.
        notes: notes and warnings about the case.
    """

    files: tuple[Path, ...]
    notes: tuple[CaseProblem, ...] = ()


class Stage(Protocol):
    """A frozen dataclass: everything that decides what its case files hold, and nothing else.

    A new mode is one such class in a module of this package, most likely a
    :class:`fran.preprocessing.stages.derived.DerivedStage`, its line in ``plan_stages.BUILDERS``, and a row in the
    contract test.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    many_files: ClassVar[bool]

    @property
    def readable(self) -> str:
        """Beginning of the folder's name, for people."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able parameters, in which equal meanings are equal."""

    def key(self) -> str:
        """Content address of the stage: of its parameters, its version, and the stages before it."""

    def case_key(self, job: Any) -> str:
        """Content address of one case; ``job.has_digests`` holds."""

    def guide_folder(self, datasource: str) -> Path | None:
        """Folder of label maps that the stage reads beside the case files; a case's is named as its image."""

    def process(self, job: Any, key: str, folder: Path) -> Made:
        """Make the case's files in ``folder``, each atomically, named ``<case id>.h5`` or by :func:`part_file`.

        Raises:
            FranError: the case cannot be made.
        """


def case_file(folder: Path, case_id: str) -> Path:
    """Where a case's only file lies."""
    return folder / f"{case_id}.h5"


def part_file(folder: Path, case_id: str, number: int) -> Path:
    """Where one of several files of a case lies."""
    return folder / f"{case_id}_{number:03d}.h5"


def folder_of(root: Path, stage: Stage) -> Path:
    """Folder of a stage's files: readable, then 8 digits of the key."""
    return root / f"{stage.readable}_{stage.key()[:8]}"
