"""Taking a datasource out, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.io.files import read_json
from fran.io.manifest import Manifest, ManifestEntry
from fran.projects.project import Project


@pytest.fixture
def both(project: Project, kits: Path, lits: Path) -> Project:
    project.add_data([Datasource(kits), Datasource(lits)])
    project.set_lm_groups([["kits"], ["lits"]])
    project.maybe_store_projectwide_properties()
    return project


def preprocessed(project: Project) -> Path:
    folder = project.folders.fixed_spacing / "spc_100_100_100_abcd"
    entry = ManifestEntry("x.h5", "k", 7, (1, 2, 3), (1.0, 1.0, 1.0), {1: 2}, {}, "CT", "lits")
    folder.mkdir(parents=True)
    Manifest(folder, "source", {}, "key", {"lits_00": entry, "kits_00": entry}).save()
    return folder


def test_rows_links_and_group_go_everything_else_stays(both: Project, lits: Path) -> None:
    folder = preprocessed(both)
    folds = {c.case_id: c.fold for c in both.cases() if c.ds == "kits"}
    report = both.drop_data("lits")
    assert report.cases == ("lits_00", "lits_01", "lits_02", "lits_03")
    ((stage, held),) = report.unused
    assert (stage.folder, held) == (folder, ("lits_00",))
    assert (folder / "manifest.json").exists()
    assert (len(both), both.datasources) == (6, ["kits"])
    assert {c.case_id: c.fold for c in both.cases()} == folds
    assert both.label_groups.groups == (("kits",),)
    assert not [p for p in both.folders.raw.rglob("*") if p.name.startswith("lits")]
    assert len([p for p in both.folders.raw.rglob("*.nii.gz") if p.exists()]) == 12
    assert len(list((lits / "images").iterdir())) == 4
    assert not both.folders.link_journal.exists()
    assert not [
        c for f in read_json(both.folders.validation_folds).values() if isinstance(f, list) for c in f if "lits" in c
    ]
    assert {p["datasource"] for p in read_json(both.folders.quality)["problems"]} == {"kits"}
    assert both.maybe_store_projectwide_properties()["n_cases"] == 6


def test_adding_again_reads_nothing_anew(both: Project, lits: Path) -> None:
    before = both.cases()
    both.drop_data("lits")
    report = both.add_data([Datasource(lits)])
    assert (report.scans[0].n_read, len(report.added)) == (0, 4)
    both.assign_folds()
    assert [c.case_id for c in both.cases()] == [c.case_id for c in before]
    assert both.has_folds


def test_group_of_the_last_datasource_goes(both: Project) -> None:
    both.drop_data("lits")
    both.drop_data("kits")
    assert (len(both), both.database.setting("lm_groups")) == (0, None)


def test_unknown_name(both: Project) -> None:
    with pytest.raises(ConfigError, match="has none called 'lit'; did you mean 'lits'"):
        both.drop_data("lit")


def test_crash_in_the_middle_leaves_everything(both: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = both.cases(), sorted(p for p in both.folders.raw.rglob("*"))

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fran.projects.dropping.write_mirror", fail)
    with pytest.raises(KeyboardInterrupt):
        both.drop_data("lits")
    assert (both.cases(), sorted(p for p in both.folders.raw.rglob("*"))) == before
    assert not both.folders.link_journal.exists()
