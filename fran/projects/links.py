"""The links to raw files: always those of the database, also after a process was killed in the middle.

Links cannot be part of a database transaction. So whoever changes some writes their paths to a journal first, while it
holds the database's write lock. Whoever takes the lock next and finds a journal sets the links in it to what the
database says: the old state where the change was not committed, the new one where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fran.io.files import read_json, write_json
from fran.projects.database import CaseRow

Targets = Mapping[Path, Path]
Wanted = Callable[[Path], Path | None]
"""Raw file that a link should lead to, or None where there should be no link."""

_TEMPORARY = ".tmp-"


def targets(cases: Iterable[CaseRow]) -> dict[Path, Path]:
    """Raw file by link."""
    return {link: raw for case in cases for link, raw in ((case.img_symlink, case.image), (case.lm_symlink, case.lm))}


@contextmanager
def changing(journal: Path, before: Targets, after: Targets) -> Iterator[bool]:
    """Make the links that `after` has more than `before`; if the block fails, put back what was there.

    To be used inside a transaction. Yields whether any link changes; then call `recover` in a transaction of its own
    once this one is committed, which removes the links that are no longer wanted.
    """
    touched = sorted({link for link in {**before, **after} if not _is(link, after.get(link))})
    if not touched:
        yield False
        return
    write_json(journal, [str(link) for link in touched])
    try:
        _settle([link for link in touched if link in after], after.get)
        yield True
    except BaseException:
        _settle(touched, before.get)
        journal.unlink()
        raise


def recover(journal: Path, wanted: Wanted) -> None:
    """Finish, or undo, a change that left a journal. To be used inside a transaction, whose lock keeps others out."""
    if journal.exists():
        links = [Path(link) for link in read_json(journal)]
        _settle(links, wanted)
        for folder in {link.parent for link in links}:
            for half_made in folder.glob(f"{_TEMPORARY}*"):
                half_made.unlink()
        journal.unlink()


def _settle(links: Iterable[Path], wanted: Wanted) -> None:
    for link in links:
        target = wanted(link)
        if _is(link, target) or (link.exists() and not link.is_symlink()):
            continue  # right already, or a file that is not fran's
        if target is None:
            link.unlink(missing_ok=True)
        else:
            make_link(link, target)


def _is(link: Path, target: Path | None) -> bool:
    found = link.readlink() if link.is_symlink() else None
    return found == target


def make_link(link: Path, target: Path) -> None:
    """Make a link, or replace one in a single step."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f"{_TEMPORARY}{os.getpid()}-{link.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
