"""`fran init` again, with and without settings; and where nothing is good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fran.datasources.phantom import make_phantoms
from fran.projects.folders import ProjectFolders
from fran.workflows.registry import as_before, register
from fran.workflows.schema import DatasourceConfig, ProjectConfig
from tests.conftest import Fran


def test_a_folder_without_good_cases_leaves_no_project(tmp_path: Path, fran: Fran, fran_home: Path) -> None:
    (tmp_path / "kits").mkdir()
    done = fran("init", "-t", "kits", "-i", str(tmp_path / "kits"))
    assert done.returncode == 1
    assert f"error: no good case in {tmp_path / 'kits'}: project kits was not made" in done.stderr
    assert [path for path in fran_home.rglob("*") if path.is_file() or path.name == "kits"] == []


def test_files_need_not_be_called_like_their_folder(tmp_path: Path, fran: Fran) -> None:
    folder = make_phantoms(tmp_path / "my_cts", 2, name="kits")
    assert fran("init", "-t", "first", "-i", str(folder)).returncode == 0
    make_phantoms(folder, 1, name="lits")
    mixed = fran("check", str(folder))
    assert mixed.returncode == 1 and "add alias=kits if every file" in " ".join(mixed.stdout.split())
    stated = fran("init", "-t", "second", "-i", str(folder), "alias=kits")
    assert "2 good cases are stored" in stated.stderr
    two = fran("check", str(folder), str(make_phantoms(tmp_path / "kits", 1)), "alias=kits")
    assert "alias: expected one folder beside it, found 2" in two.stderr


def test_what_was_there_before_a_project_was_made_stays(tmp_path: Path) -> None:
    folders = ProjectFolders("kits", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid")
    folders.project.mkdir(parents=True)
    rules = folders.mask_labels
    rules.write_text("{}")
    prediction = folders.predictions / "run" / "a.nii.gz"
    prediction.parent.mkdir(parents=True)
    prediction.touch()
    kept = folders.contents()
    folders.make()
    folders.database.touch()
    (folders.statistics("kits") / "fg").mkdir(parents=True)
    folders.unmake(kept)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([prediction, rules])
    assert not folders.fast.exists() and not folders.raw.exists() and folders.rapid.is_dir()


def test_a_file_about_another_folder_of_that_name_is_left_alone(tmp_path: Path, fran_home: Path) -> None:
    first, second, moved = (tmp_path / place / "kits" for place in ("first", "second", "moved"))
    first.mkdir(parents=True)
    second.mkdir(parents=True)
    file = fran_home / "conf" / "datasource" / "kits.yaml"

    def registered() -> dict[str, object]:
        register(ProjectConfig("organs"), entries)
        content: dict[str, object] = yaml.safe_load(file.read_text())["kits"]
        return content

    entries = {"kits": DatasourceConfig(str(first), labels={1: "kidney"})}
    assert registered()["folder"] == str(first)
    entries = as_before({"kits": DatasourceConfig(str(second))}, ())
    assert entries["kits"].labels is None and registered()["folder"] == str(first)
    first.rename(moved.parent)
    entries = as_before({"kits": DatasourceConfig(str(moved.parent))}, ())
    assert entries["kits"].labels == {1: "kidney"}
    assert registered() == {**registered(), "folder": str(moved.parent), "labels": {1: "kidney"}}


@pytest.mark.slow
def test_settings_of_a_datasource_hold_until_they_are_stated_otherwise(
    tmp_path: Path, fran: Fran, fran_home: Path
) -> None:
    make_phantoms(tmp_path / "kits", 5, 0, name="kits")
    (tmp_path / "kits" / "labels.json").unlink(missing_ok=True)
    init = ("init", "-t", "kits", "-i", str(tmp_path / "kits"))
    registered = fran_home / "conf" / "datasource" / "kits.yaml"

    def names() -> list[str]:
        status = json.loads(fran("project", "status", "project=kits", "--json").stdout)
        return [label["name"] for label in status["labels"]]

    assert fran(*init, "labels={1: kidney, 2: tumour}").returncode == 0
    assert names() == ["kidney", "tumour"]
    again = fran(*init)
    assert again.returncode == 0 and "kits: as before, labels={1: kidney, 2: tumour}" in again.stderr
    assert names() == ["kidney", "tumour"]
    other = fran(*init, "labels={1: kidney, 2: cyst}")
    assert "kits: label names now {1: 'kidney', 2: 'cyst'}, before {1: 'kidney', 2: 'tumour'}" in other.stderr
    assert names() == ["kidney", "cyst"]
    assert yaml.safe_load(registered.read_text())["kits"]["labels"] == {1: "kidney", 2: "cyst"}
    registered.write_text(f"# mine\n{registered.read_text()}")
    edited = fran(*init, "labels={1: organ, 2: lesion}")
    assert f"{registered} says something else and was not changed" in edited.stderr
    assert names() == ["organ", "lesion"]
    too_few = fran(*init, "labels={1: kidney}")
    assert too_few.returncode == 1 and "5 good cases are stored" not in too_few.stderr
