from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.io.files import write_json


def test_old_dict(folder: Path) -> None:
    source = Datasource.from_spec({"ds": "task6", "folder": str(folder), "alias": "lung"})
    assert (source.name, source.alias, source.title, source.folder) == ("task6", "lung", "lung", folder)
    assert Datasource.from_spec(source) is source


def test_unknown_key_lists_choices(folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'folder'"):
        Datasource.from_spec({"ds": "a", "foldr": str(folder)})
    with pytest.raises(ConfigError, match="expected a key 'folder'"):
        Datasource.from_spec({"ds": "a"})


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found nothing at"):
        Datasource(tmp_path / "absent")


def test_label_names_from_file(folder: Path) -> None:
    write_json(folder / "labels.json", {"0": "background", "1": "kidney", "7": "cyst"})
    assert Datasource(folder).labels == {1: "kidney", 7: "cyst"}
    assert Datasource(folder, labels={1: "liver"}).labels == {1: "liver"}


@pytest.mark.parametrize("labels", [{"one": "a"}, {1: ""}, {70000: "a"}, {1: "a", 2: "a"}, {-1: "ignore"}])
def test_impossible_labels(folder: Path, labels: dict[int, str]) -> None:
    with pytest.raises(ConfigError, match="labels: expected"):
        Datasource(folder, labels=labels)


def test_title_of_the_files_where_all_share_another(folder: Path) -> None:
    (folder / "images" / "kits_1.nii.gz").touch()
    (folder / "images" / "kits_2.nii.gz").touch()
    source = Datasource(folder)
    assert (source.name, source.title) == ("raw", "kits")
    (folder / "images" / "lits_2.nii.gz").touch()
    assert Datasource(folder).title == "raw"
    assert Datasource(folder, name="lits").title == "lits"


def test_bad_pattern(folder: Path) -> None:
    with pytest.raises(ConfigError, match="patient_pattern"):
        Datasource(folder, patient_pattern="(")


def test_bad_name(folder: Path) -> None:
    with pytest.raises(ConfigError, match="datasource name"):
        Datasource(folder, name="my kits")


def test_annotated_labels_by_name_or_value(folder: Path) -> None:
    labels = {1: "kidney", 2: "tumour", 3: "cyst"}
    assert Datasource(folder, labels=labels, annotated=["tumour", 1]).annotated == (1, 2)
    assert Datasource(folder, annotated=[4, "2"]).annotated == (2, 4)
    assert Datasource(folder, labels=labels).annotated is None


@pytest.mark.parametrize(
    ("annotated", "message"),
    [
        (["tumor"], "did you mean 'tumour'"),
        ("tumour", "expected a list"),
        ([], "expected a list"),
        ([0], "from 1 to 65535"),
        ([1.5], "from 1 to 65535"),
    ],
)
def test_impossible_annotated_labels(folder: Path, annotated: list[int | str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Datasource(folder, labels={1: "kidney", 2: "tumour"}, annotated=annotated)
