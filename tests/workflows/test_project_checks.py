"""What a plan asks of a project that the project does not have is said before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.projects.folders import ProjectFolders
from fran.projects.project import Project
from fran.workflows import train
from fran.workflows.entry import refusal
from fran.workflows.schema import TrainConfig

from ..projects.raw_cases import write_cases


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home with a project of two datasources and two folds; labels 1, 2 and 1, 3."""
    base = tmp_path_factory.mktemp("checked")
    home = base / "home"
    folders = ProjectFolders("two", home / "projects", home / "cold", home / "rapid")
    project = Project("two", folders)
    project.create()
    sources = [
        {"ds": n, "folder": write_cases(base / n, n, 4, labels)} for n, labels in (("lits", (1, 2)), ("drli", (1, 3)))
    ]
    project.add_data(sources)
    project.maybe_store_projectwide_properties()
    return home


def said(home: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> str:
    monkeypatch.setenv("FRAN_HOME", str(home))
    chosen = ("project=_new", "project.title=two", "patch_dim0=32", "patch_dim1=16")
    return refusal("train", TrainConfig, train.check, [*chosen, *overrides])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("datasources=[lits,drlli]", "did you mean 'drli'? choices: drli, lits; found 'drlli'"),
        ("plan=nodes", "datasources of project two; choices: drli, lits; found 'nodesthick'"),
        ("lm_groups=[[lits],[drly]]", "did you mean 'drli'"),
        ("remapping_source=[{1: 2}]", "one for each of the 2 datasources"),
        ("remapping_source={lits: {1: 2}, kits: null}", "found 'kits'"),
        ("vip_label=7", "a label of the network's: 1"),
        ("fold=5", "the number of a fold, 0 to 4, all, or a datasource"),
        ("fold=drly", "did you mean 'drli'"),
        ("classes=[kidney]", "classes"),
    ],
)
def test_what_the_project_lacks(home: Path, monkeypatch: pytest.MonkeyPatch, override: str, words: str) -> None:
    found = said(home, monkeypatch, override)
    assert words in found
    assert f"command line: {override}" in found or "nodes.yaml:" in found


def test_imported_label_maps_that_are_not_on_this_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lms = home.parent / "lits" / "lms"
    settings = ("mode=lbd", "remapping_imported=null", "datasources=[lits]")
    assert not said(home, monkeypatch, f"imported_folder={lms}", *settings)
    found = said(home, monkeypatch, "imported_folder=/s/xnat/lms", *settings)
    assert "imported_folder = /s/xnat/lms" in found
    assert "expected a folder with label maps on this machine (" in found
    assert "set in   command line: imported_folder=/s/xnat/lms" in found
    listed = said(home, monkeypatch, f"imported_folder=[{lms},/gone]", *settings[:2], "datasources=[lits,drli]")
    assert "imported_folder = /gone" in listed and str(lms) not in listed.split("set in")[0]


def test_all_of_it_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(home, monkeypatch, "fold=9", "vip_label=7", "patch_overlap=1", "patch_dim0=100")
    assert "4 settings cannot work" in found


def test_what_fits_is_let_through(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not said(home, monkeypatch, "datasources=[drli]", "vip_label=3", "fold=1", "remapping_source={1: 1}")
    assert not said(home, monkeypatch, "lm_groups=[[lits],[drli]]", "vip_label=4")
