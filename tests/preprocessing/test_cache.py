"""What is in the folders of preprocessed data, what no plan needs, and what is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.preprocessing.cache import CachedStage, cached_stages, delete, unneeded, verify_stage
from fran.preprocessing.pipeline import Link, run_chain
from fran.preprocessing.stages.crop import Cut
from fran.preprocessing.stages.lbd import LbdStage
from fran.preprocessing.stages.pbd import PbdStage
from fran.preprocessing.stages.source import CaseJob, SourceParams
from fran.preprocessing.stages.stage import Stage, folder_of
from fran.projects.database import PlanRow
from fran.projects.folders import ProjectFolders

from .awkward import PATCH, SPACING_MM, VOLUMES

SOURCE = SourceParams(SPACING_MM)
CHAINS: dict[str, list[Stage]] = {
    "crop": [SOURCE, LbdStage(SOURCE, Cut(PATCH))],
    "patches": [SOURCE, PbdStage(SOURCE, Cut(PATCH))],
}


@pytest.fixture
def folders(tmp_path: Path) -> ProjectFolders:
    return ProjectFolders("kits", *(tmp_path / root for root in ("projects", "cold", "rapid")))


@pytest.fixture
def jobs(tmp_path: Path) -> list[CaseJob]:
    return [VOLUMES[name].write(tmp_path / "raw", name) for name in ("plain", "one slice")]


def links(folders: ProjectFolders, chain: list[Stage]) -> list[Link]:
    roots = {"source": folders.fixed_spacing, "lbd": folders.lbd, "pbd": folders.pbd}
    return [Link(stage, folder_of(roots[stage.name], stage)) for stage in chain]


@pytest.fixture
def plans(folders: ProjectFolders, jobs: list[CaseJob]) -> list[PlanRow]:
    """Two plans that were run, the second under the name of the first."""
    rows = []
    for number, chain in enumerate(CHAINS.values(), start=1):
        made = links(folders, chain)
        run_chain(jobs, made)
        stages = {link.stage.name: (link.stage.key(), str(link.folder)) for link in made}
        rows.append(PlanRow(number, "plan", "", stages, "now"))
    return rows


def by_name(stages: list[CachedStage]) -> dict[str, CachedStage]:
    return {stage.stage: stage for stage in stages}


def test_folders_and_who_needs_them(folders: ProjectFolders, plans: list[PlanRow]) -> None:
    stages = by_name(cached_stages(folders, plans))
    assert {name: (s.cases, s.plans) for name, s in stages.items()} == {
        "source": (2, ("plan #1", "plan #2")),
        "lbd": (2, ("plan #1",)),
        "pbd": (2, ("plan #2",)),
    }
    assert stages["pbd"].files > 2 and not any(s.stray for s in stages.values())
    sizes = sum(p.stat().st_size for p in stages["lbd"].folder.iterdir())
    assert stages["lbd"].bytes == sizes


def test_only_what_no_plan_needs_is_deleted(folders: ProjectFolders, plans: list[PlanRow]) -> None:
    assert unneeded(cached_stages(folders, plans)) == []
    spare = unneeded(cached_stages(folders, plans, keep="newest"))
    assert [stage.stage for stage in spare] == ["lbd"]
    assert spare[0].folder.is_dir(), "looking deletes nothing"
    assert delete(spare) == spare[0].bytes
    assert sorted(by_name(cached_stages(folders, plans))) == ["pbd", "source"]


def test_files_that_no_manifest_lists(folders: ProjectFolders, plans: list[PlanRow], jobs: list[CaseJob]) -> None:
    run_chain(jobs[:1], links(folders, CHAINS["crop"]))
    lbd = by_name(cached_stages(folders, plans))["lbd"]
    torn = lbd.folder / ".tmp-abc.h5"
    torn.write_bytes(b"half")
    lbd = by_name(cached_stages(folders, plans))["lbd"]
    assert {p.name for p in lbd.stray} == {".tmp-abc.h5", "one slice.h5"}
    delete([lbd])
    assert sorted(p.name for p in lbd.folder.glob("*.h5")) == ["plain.h5"]


def test_damaged_files_are_named(folders: ProjectFolders, plans: list[PlanRow]) -> None:
    lbd = by_name(cached_stages(folders, plans))["lbd"].folder
    assert [problem for _, problem in verify_stage(lbd)] == [None, None]
    victim = lbd / "plain.h5"
    victim.write_bytes(victim.read_bytes()[:-300])
    (lbd / "one slice.h5").unlink()
    found = {file_id: problem for file_id, problem in verify_stage(lbd) if problem is not None}
    assert found.keys() == {"plain", "one slice"}
    assert found["plain"].path == str(victim) and "fran preprocess" in found["plain"].next_step
    (lbd / "manifest.json").write_text("{")
    assert [problem is None for _, problem in verify_stage(lbd)] == [False]
