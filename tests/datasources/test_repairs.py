from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.io.files import write_json
from fran.io.volume import read_native_grid, read_volume
from fran.labels import Remapping

from .raw_pairs import AFFINE, SHAPE, Writer, image_array, lm_array, save


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_relabel_writes_a_new_folder(folder: Path, pair: Writer, tmp_path: Path) -> None:
    image, _ = pair("raw_1")
    pair("raw_2", lm=np.where(lm_array() == 2, 0, lm_array()).astype(np.uint8))
    write_json(folder / "labels.json", {"1": "kidney", "2": "tumour"})
    before = contents(folder)
    repair = Datasource(folder).relabel({2: 7})
    assert repair.folder == tmp_path / "raw_relabelled"
    assert contents(folder) == before
    made = Datasource(repair.folder, name="raw")
    assert made.labels == {1: "kidney", 7: "tumour"}
    lm = read_volume(repair.folder / "lms" / "raw_1.nii.gz", role="lm")
    assert (np.unique(lm.array).tolist(), lm.native.allclose(read_native_grid(image), 1e-4)) == ([0, 1, 7], True)
    assert (repair.folder / "images" / "raw_1.nii.gz").readlink() == image
    assert (repair.folder / "lms" / "raw_2.nii.gz").is_symlink()  # nothing to change in it
    assert repair.changes == ["lms/raw_1.nii.gz: 2 -> 7"]
    assert made.scan(tmp_path / "store").ok


def test_repairs_count_what_they_read(
    folder: Path, pair: Writer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fran.parallel.progress._FIRST_S", 0.0)
    pair("raw_1")
    pair("raw_2")
    Datasource(folder).relabel({2: 7}, progress=True)
    assert "relabel: 2 of 2 label maps" in capsys.readouterr().err
    Datasource(folder).relabel({2: 7}, in_place=True, progress=True)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if " 2 of 2 " in line] == [
        "read: 2 of 2 label maps",
        "relabel: 2 of 2 label maps",
    ]
    with pytest.raises(ConfigError, match="none that can be mended"):
        Datasource(folder).harmonise(progress=True)
    assert "harmonise: 2 of 2 cases" in capsys.readouterr().err


def test_relabel_in_place_only_when_asked(folder: Path, pair: Writer) -> None:
    image, lm = pair("raw_1")
    before = image.read_bytes()
    Datasource(folder).relabel(Remapping.of({2: 1}), in_place=True)
    assert np.unique(read_volume(lm, role="lm").array).tolist() == [0, 1]
    assert image.read_bytes() == before
    with pytest.raises(ConfigError, match="drop one"):
        Datasource(folder).relabel({1: 2}, out="elsewhere", in_place=True)


def test_relabel_in_place_changes_nothing_where_a_file_is_bad(folder: Path, pair: Writer) -> None:
    pair("raw_1")
    pair("raw_2")[1].write_bytes(b"nonsense")
    before = contents(folder)
    with pytest.raises(ValueError, match="raw_2"):
        Datasource(folder).relabel({2: 1}, in_place=True)
    assert contents(folder) == before


@pytest.mark.parametrize("value", [-1, 70_000])
def test_relabel_mends_values_that_no_label_map_may_hold(folder: Path, pair: Writer, value: int) -> None:
    odd = lm_array().astype(np.int32)
    odd[0, 0, 0] = value
    pair("raw_1", lm=odd)
    repair = Datasource(folder).relabel({value: 0})
    mended = nibabel.load(repair.folder / "lms" / "raw_1.nii.gz")
    np.testing.assert_array_equal(np.asarray(mended.dataobj), lm_array())


def test_joined_labels_keep_both_names(folder: Path, pair: Writer) -> None:
    pair("raw_1")
    repair = Datasource(folder, labels={1: "left", 2: "right"}).relabel({1: 3, 2: 3})
    assert Datasource(repair.folder, name="raw").labels == {3: "left_and_right"}


def test_nothing_is_overwritten(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    (tmp_path / "raw_relabelled").mkdir()
    with pytest.raises(ConfigError, match="raw_relabelled"):
        Datasource(folder).relabel({1: 2})
    assert list((tmp_path / "raw_relabelled").iterdir()) == []
    with pytest.raises(ConfigError, match="a value that changes"):
        Datasource(folder).relabel({1: 1}, out=tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw", "raw_relabelled"]  # nor anything left behind


def test_harmonise_gives_the_exact_grid(folder: Path, pair: Writer, tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 0.4
    far = AFFINE.copy()
    far[2, 3] += 40
    swap = np.array([[0, 0, -1, SHAPE[0] - 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    pair("raw_1")
    pair("raw_2", lm_affine=moved)
    pair("raw_3", lm=lm_array()[::-1].transpose(1, 2, 0), lm_affine=AFFINE @ swap)
    pair("raw_4", lm_affine=far)
    repair = Datasource(folder).harmonise()
    assert [line[:17] for line in repair.changes] == ["lms/raw_2.nii.gz:", "lms/raw_3.nii.gz:"]
    assert "turned from ASR to LAS" in repair.changes[1]
    assert "raw_4" in repair.left_out[0]
    for k in (1, 2, 3):
        image, lm = (nibabel.load(repair.folder / side / f"raw_{k}.nii.gz") for side in ("images", "lms"))
        np.testing.assert_array_equal(image.affine, lm.affine)
        np.testing.assert_array_equal(np.asarray(lm.dataobj), lm_array())
    assert (repair.folder / "lms" / "raw_1.nii.gz").is_symlink()
    with pytest.raises(ConfigError, match="none that can be mended"):
        Datasource(repair.folder, name="raw").harmonise(tmp_path / "again")


def test_rename_duplicates(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    for name, k in (("raw_2_2020", 2), ("raw_2_2021", 3)):
        pair(name, image=image_array(k))
    for side, array in (("images", image_array(9)), ("lms", lm_array())):
        save(folder / side / "raw_1.nii", array)
    pair("raw_1a", image=image_array(11))  # the letter that would come first is taken
    save(folder / "images" / "raw_2.nii", image_array(12))
    first = Datasource(folder, modality="CT").scan(tmp_path / "store")
    assert sorted({p.case_id for p in first.errors if p.what == "case id"}) == ["raw_1", "raw_2"]
    repair = Datasource(folder).rename_duplicates()
    names = sorted(p.name for p in (repair.folder / "images").iterdir())
    assert names == ["raw_1a.nii.gz", "raw_1b.nii", "raw_1c.nii.gz", "raw_2b_2020.nii.gz", "raw_2c_2021.nii.gz"]
    assert repair.left_out == ["images/raw_2.nii: no partner of its name and ending"]
    again = Datasource(repair.folder, name="raw", modality="CT").scan(tmp_path / "again")
    assert (again.errors, len(again.records)) == ([], 5)
    with pytest.raises(ConfigError, match="nothing to rename"):
        Datasource(repair.folder, name="raw").rename_duplicates()


def test_rename_files_keeps_pairs_together(folder: Path, pair: Writer, tmp_path: Path) -> None:
    names = ["raw_1", "raw-2", "Raw_3", "raw_4.v2", "raw", "raw__6", "raw_é7", "other_8", "raw_", "_9"]
    for k, name in enumerate(names):
        pair(name, image=image_array(k))
    repair = Datasource(folder, alias="raw").rename_files()
    made = {p.name: p.resolve().name for p in (repair.folder / "images").iterdir()}
    assert {p.name: p.resolve().name for p in (repair.folder / "lms").iterdir()} == made
    assert made["raw_1.nii.gz"] == "raw_1.nii.gz"
    assert made["raw_4_v2.nii.gz"] == "raw_4.v2.nii.gz"
    assert made["raw_e7.nii.gz"] == "raw_é7.nii.gz"
    assert made["raw_other_8.nii.gz"] == "other_8.nii.gz"
    assert sorted(made.values()) == sorted(f"{name}.nii.gz" for name in names)
    assert Datasource(repair.folder, name="raw").scan(tmp_path / "store").errors == []
