"""Projects, datasources and plans from a script, by public names alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import fran
from fran import DS, ConfigMaker, Datasource, Project
from fran.errors import ConfigError
from fran.plans.docs import meanings

from ..projects.raw_cases import write_cases
from .plan_folder import write_plan

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def example() -> str:
    """The page's own example, as a user would paste it."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (found,) = [block for block in blocks if "lung_segmentation" in block]
    return str(found)


def register(home: Path, aliases: bool = False, **folders: Path) -> None:
    for name, folder in folders.items():
        path = home / "conf" / "datasource" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({name: {"folder": str(folder), **({"alias": folder.name} if aliases else {})}}))


def test_the_complete_example_on_tiny_files(
    fran_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_cases(tmp_path / "task6", "task6", 5, (1, 2))
    second = write_cases(tmp_path / "lidc2", "lidc2", 4, (1, 3))
    register(fran_home, task6=first, lidc2=second)
    names: dict[str, object] = {}
    exec(compile(example(), str(PAGE), "exec"), names)
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "Project has 9 cases",
        "Datasets: ['lidc2', 'task6']",
        "Has folds: True",
    ]
    P = names["P"]
    assert isinstance(P, Project)
    assert P.mnemonic == "lungs"
    assert {ds: dict(m) for ds, m in P.label_groups.mapping.items()} == {"task6": {1: 1, 2: 2}, "lidc2": {1: 3, 3: 4}}
    (stored,) = P.plans
    assert stored.name == "plan1"
    assert yaml.safe_load(stored.yaml)["spacing"] == [1.5, 1.5, 3.0]
    key, folder = stored.stages["source"]
    assert Path(folder).parent == P.folders.fixed_spacing
    assert folder.endswith(key[:8])
    assert (fran_home / "projects" / "lung_segmentation" / "cases.db").is_file()


@pytest.mark.realdata
def test_the_complete_example_on_real_files(
    fran_home: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(fran_home, aliases=True, task6=shared_data / "hippo", lidc2=shared_data / "stsmr")
    names: dict[str, object] = {}
    exec(compile(example(), str(PAGE), "exec"), names)
    P = names["P"]
    assert isinstance(P, Project)
    assert "Project has 131 cases" in capsys.readouterr().out
    assert {ds: dict(m) for ds, m in P.label_groups.mapping.items()} == {"task6": {1: 1, 2: 2}, "lidc2": {1: 3}}
    assert P.has_folds
    P.delete()
    assert not P.exists
    assert (shared_data / "hippo" / "images").is_dir()


def test_plain_dicts_and_flags(fran_home: Path, tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "custom_dataset", "custom", 3)
    other = write_cases(tmp_path / "held", "held", 2)
    P = Project(project_title="mine")
    P.create()
    report = P.add_data(
        [{"ds": "custom_dataset", "folder": str(folder), "alias": "custom"}, Datasource(other)], [False, True]
    )
    assert report.ok
    assert [case.test for case in P.cases()] == [False] * 3 + [True] * 2
    P.set_lm_groups()
    assert P.datasources == ["custom_dataset", "held"]


def test_a_datasource_is_found_by_name_and_a_misspelt_one_lists_the_choices(fran_home: Path, tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "kits", "kits", 1)
    register(fran_home, kits=folder)
    assert list(DS) == ["kits"]
    assert DS.kits == DS["kits"]
    assert DS.kits.folder == folder
    assert "kits" in dir(DS)
    with pytest.raises(ConfigError, match="did you mean 'kits'"):
        _ = DS.kist
    assert not hasattr(DS, "kist")


@pytest.mark.usefixtures("fran_home")
def test_a_script_that_looks_at_no_report_is_told_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_cases(tmp_path / "kits", "kits", 2)
    (folder / "lms" / "kits_01.nii.gz").unlink()
    P = Project("mine")
    P.create()
    P.add_data(Datasource(folder))
    assert len(P) == 1
    assert "1 errors; 1 good cases are stored" in caplog.text
    assert "kits_01" in caplog.text


@pytest.mark.usefixtures("fran_home")
def test_nothing_registered_says_how_to_register() -> None:
    with pytest.raises(ConfigError, match="fran init -t"):
        _ = DS.kits


def test_a_plan_is_a_plain_dict_with_every_key(fran_home: Path) -> None:
    write_plan(fran_home, "mine", "plan2", imported_folder="${paths.cold}/maps", remapping_imported={1: 2})
    config = ConfigMaker(Project("any"), raytune=False, configuration_filename=None).config
    plan = config["mine"]
    assert type(plan) is dict
    assert list(plan) == list(meanings())
    assert plan["imported_folder"] == str(fran_home / "cold" / "maps")
    assert plan["remapping_imported"] == {1: 2}
    assert {"mine", "plan1", "nodes"} <= set(config)
    with pytest.raises(ConfigError, match="did you mean 'plan1'"):
        _ = config["plam1"]


@pytest.mark.usefixtures("fran_home")
def test_an_impossible_plan_is_not_kept() -> None:
    P = Project("any")
    P.create()
    plan = ConfigMaker(P).config["plan1"]
    with pytest.raises(ConfigError, match="2 settings cannot work"):
        P.add_plan(plan | {"spacing": [1.0, 1.0], "patch_overlap": 2.0})
    with pytest.raises(ConfigError, match="did you mean 'spacing'"):
        P.add_plan(plan | {"spacng": [1.0, 1.0, 1.0]})
    assert not P.plans
    first = P.add_plan(plan)
    assert P.add_plan(dict(plan)) == first
    assert P.add_plan(plan | {"spacing": [1.0, 1.0, 1.0]}) != first


def test_paths_come_from_the_file_of_old(fran_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = tmp_path / "config.yaml"
    common.write_text(yaml.safe_dump({"cold_storage_folder": str(tmp_path / "slow")}))
    monkeypatch.setenv("FRAN_COMMON_PATHS", str(common))
    P = Project("nodes")
    assert P.folders.raw_images == tmp_path / "slow" / "datasets" / "raw_data" / "nodes" / "images"
    assert P.folders.project == fran_home / "projects" / "nodes"


@pytest.mark.usefixtures("fran_home")
def test_what_the_old_arguments_asked_for_is_said() -> None:
    with pytest.raises(ConfigError, match=r"import_excel.py experiment.xlsx"):
        ConfigMaker(Project("any"), configuration_filename="experiment.xlsx")
    with pytest.raises(ConfigError, match="raytune: expected a search space"):
        ConfigMaker(Project("any"), raytune=True)


def test_importing_fran_costs_nothing() -> None:
    code = "import sys, fran; print(sorted(m for m in sys.modules if m in ('hydra', 'numpy', 'torch', 'yaml')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match=r"it offers DS, ConfigMaker, .*train"):
        _ = fran.Projekt
    assert set(dir(fran)) == set(fran.__all__)
