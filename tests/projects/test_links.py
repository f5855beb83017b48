"""Links after a change that was cut off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fran.projects.links import changing, make_link, recover


def found(folder: Path) -> dict[str, str]:
    return {p.name: p.readlink().name for p in folder.iterdir() if p.is_symlink()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, target in (("kept", "a"), ("moved", "b"), ("gone", "c")):
        make_link(tmp_path / "links" / name, tmp_path / target)
    return tmp_path / "links"


def states(folder: Path) -> tuple[dict[Path, Path], dict[Path, Path]]:
    raw = folder.parent
    before = {folder / "kept": raw / "a", folder / "moved": raw / "b", folder / "gone": raw / "c"}
    return before, {folder / "kept": raw / "a", folder / "moved": raw / "d", folder / "new": raw / "e"}


def test_stale_links_go_after_the_commit(folder: Path) -> None:
    before, after = states(folder)
    with changing(folder.parent / "journal", before, after) as changed:
        assert changed
    assert found(folder) == {"kept": "a", "moved": "d", "new": "e", "gone": "c"}
    recover(folder.parent / "journal", after.get)
    assert found(folder) == {"kept": "a", "moved": "d", "new": "e"}


def test_killed_before_the_commit(folder: Path) -> None:
    before, after = states(folder)
    journal = folder.parent / "journal"
    child = os.fork()
    if child == 0:
        with changing(journal, before, after):
            os._exit(9)
    os.waitpid(child, 0)
    assert found(folder) == {"kept": "a", "moved": "d", "new": "e", "gone": "c"}
    (folder / ".tmp-123-new").symlink_to("nowhere")
    recover(journal, before.get)
    assert found(folder) == {"kept": "a", "moved": "b", "gone": "c"}
    assert not journal.exists()
    recover(journal, before.get)


def test_failure_puts_back_what_was_there(folder: Path) -> None:
    before, after = states(folder)
    with pytest.raises(ValueError, match="disk"), changing(folder.parent / "journal", before, after):
        raise ValueError("disk")
    assert found(folder) == {"kept": "a", "moved": "b", "gone": "c"}
    assert not (folder.parent / "journal").exists()


def test_nothing_to_change_writes_nothing(folder: Path) -> None:
    before, _ = states(folder)
    with changing(folder.parent / "journal", before, before) as changed:
        assert not changed
        assert not (folder.parent / "journal").exists()


def test_files_that_are_no_links_are_left_alone(folder: Path) -> None:
    (folder / "mine").write_text("mine")
    before, _ = states(folder)
    with changing(folder.parent / "journal", before, {**before, folder / "mine": folder.parent / "a"}):
        pass
    assert (folder / "mine").read_text() == "mine"
