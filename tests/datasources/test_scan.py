from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from fran.datasources import measure, scan, statistics, store
from fran.datasources.datasource import Datasource
from fran.errors import CaseProblem, CasesFailed, StoreError
from fran.parallel.local import run_jobs

from .raw_pairs import AFFINE, SHAPE, Writer, image_array, lm_array, save


def texts(problems: list[CaseProblem], severity: str = "error") -> list[str]:
    return [f"{p.case_id} {p.what} {p.expected} {p.found}" for p in problems if p.severity == severity]


def test_facts_equal_numpy(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    (record,) = Datasource(folder).scan(tmp_path / "store").records
    voxels = image_array(1)[lm_array() > 0].astype(float)
    facts, foreground = record.facts, record.facts.foreground
    assert foreground is not None
    assert (foreground.n, foreground.mean, foreground.std) == pytest.approx((78, voxels.mean(), voxels.std()))
    assert (foreground.min, foreground.max) == (voxels.min(), voxels.max())
    for percentile, value in foreground.percentiles.items():
        assert value == pytest.approx(np.percentile(voxels, float(percentile)))
    assert facts.labels == {1: 72, 2: 6}
    # the x axis runs to the left in the file; RAS turns it without changing the order of the sizes
    assert (facts.size, facts.orientation) == (SHAPE, "LAS")
    assert facts.spacing_mm == pytest.approx((1.2041595, 1.2041595, 2.5))
    assert record.modality == "CT"
    assert facts.image.mean == pytest.approx(image_array(1).mean())
    assert facts.image.std == pytest.approx(image_array(1).std())
    ((case_id, arrays),) = store.read_arrays(tmp_path / "store", ["raw_1"])
    assert case_id == "raw_1"
    assert sorted(arrays.sample) == sorted(voxels)
    assert arrays.histogram.sum() == 78
    assert (arrays.bins[1].sum(), arrays.bins[2].sum()) == (image_array(1).size, image_array(1).sum(dtype=float))


def test_nothing_is_written_beside_the_raw_data(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    before = sorted(folder.rglob("*"))
    Datasource(folder).scan(tmp_path / "store")
    assert sorted(folder.rglob("*")) == before


def test_sample_is_bounded_and_seeded(
    folder: Path, pair: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "SAMPLE_VOXELS", 20)
    pair("raw_1")

    def sample(seed: int) -> list[float]:
        place = tmp_path / f"store{seed}{len(list(tmp_path.iterdir()))}"
        Datasource(folder).scan(place, seed=seed)
        return next(store.read_arrays(place, ["raw_1"]))[1].sample.tolist()

    first = sample(0)
    assert len(first) == 20
    assert sample(0) == first
    assert sample(1) != first


def test_second_scan_opens_no_file(folder: Path, pair: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw_1", "raw_2"):
        pair(name)
    first = Datasource(folder).scan(tmp_path / "store")
    written = (tmp_path / "store" / store.FILE_NAME).stat().st_mtime_ns
    monkeypatch.setattr(scan, "measure_case", lambda task: pytest.fail(f"{task.case_id} was read"))
    again = Datasource(folder).scan(tmp_path / "store")
    assert (first.n_read, again.n_read, again.n_reused) == (2, 0, 2)
    assert again.records == first.records
    assert again.problems == first.problems
    assert (tmp_path / "store" / store.FILE_NAME).stat().st_mtime_ns == written


def test_only_what_changed_is_read(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    touched, _ = pair("raw_2")
    pair("raw_3")
    Datasource(folder).scan(tmp_path / "store")
    os.utime(touched, ns=(1, 1))
    pair("raw_3", image=image_array(99))
    pair("raw_4")
    report = Datasource(folder).scan(tmp_path / "store")
    assert (report.n_read, report.n_reused) == (2, 2)
    assert Datasource(folder).scan(tmp_path / "store").n_reused == 4
    changed = next(r for r in report.records if r.case_id == "raw_3")
    assert changed.facts.image.mean == pytest.approx(image_array(99).mean())


def test_removed_case_is_noted(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    gone = pair("raw_2")
    Datasource(folder).scan(tmp_path / "store")
    for path in gone:
        path.unlink()
    report = Datasource(folder).scan(tmp_path / "store")
    assert any("raw_2" in text for text in texts(report.problems, "note"))
    assert set(store.read_facts(tmp_path / "store")) == {"raw_1"}


def test_damaged_store_is_rebuilt(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    Datasource(folder).scan(tmp_path / "store")
    path = tmp_path / "store" / store.FILE_NAME
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StoreError, match="expected an HDF5 file"):
        store.read_facts(tmp_path / "store")
    report = Datasource(folder, modality="CT").scan(tmp_path / "store")
    assert (report.n_read, report.n_reused) == (0, 1)  # the file of the case itself is whole
    assert "statistics" in texts(report.problems, "note")[0]
    assert Datasource(folder, modality="CT").scan(tmp_path / "store").problems == []


def test_any_program_finds_the_cases_in_the_file(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    Datasource(folder).scan(tmp_path / "store")
    with h5py.File(tmp_path / "store" / store.FILE_NAME) as file:
        assert set(file) == {"index", "raw_1"}
        assert file["raw_1/sample"].shape == (78,)
        assert file["raw_1/histogram"][...].sum() == 78


def test_spoilt_case_file_is_made_again(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    pair("raw_2")
    first = Datasource(folder).scan(tmp_path / "store")
    spoilt = next((tmp_path / "store" / store.CASES).glob("raw_2.*"))
    spoilt.write_bytes(b"")
    again = Datasource(folder).scan(tmp_path / "store")
    assert (again.n_read, again.n_reused, again.records) == (1, 1, first.records)
    assert [c for c, _ in store.read_arrays(tmp_path / "store", ["raw_1", "raw_2"])] == ["raw_1", "raw_2"]


def test_part_of_a_sample_is_a_sample(folder: Path, pair: Writer, tmp_path: Path) -> None:
    ramp = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    pair("raw_1", image=ramp, lm=np.ones(SHAPE, np.uint8))
    Datasource(folder).scan(tmp_path / "store")
    ((_, part),) = store.read_arrays(tmp_path / "store", ["raw_1"], limit=200)
    ((_, whole),) = store.read_arrays(tmp_path / "store", ["raw_1"])
    assert part.sample.tolist() == whole.sample[:200].tolist()
    assert np.median(part.sample) == pytest.approx(np.median(ramp), rel=0.2)  # in file order it would be a seventh


def test_refused_cases_are_not_read_again(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    pair("raw_2", lm=lm_array()[:, :, :-2])
    pair("raw_3")[0].write_bytes(b"")
    first = Datasource(folder).scan(tmp_path / "store")
    again = Datasource(folder).scan(tmp_path / "store")
    assert (first.n_read, again.n_read, again.n_reused) == (3, 0, 3)
    assert again.problems == first.problems
    pair("raw_2")
    mended = Datasource(folder).scan(tmp_path / "store")
    assert (mended.n_read, [r.case_id for r in mended.records]) == (1, ["raw_1", "raw_2"])


def test_processes_give_the_same(folder: Path, pair: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        pair(f"raw_{k}")
    for name in ("raw_8", "raw_9"):
        pair(name)[0].write_bytes(b"")
    monkeypatch.setattr(scan, "BYTES_PER_WORKER", 1)
    one = Datasource(folder).scan(tmp_path / "one", num_workers=1)
    two = Datasource(folder).scan(tmp_path / "two", num_workers=2)
    assert two.records == one.records
    assert two.problems == one.problems
    assert len(one.errors) == 2


class Deadly(measure.CaseTask):
    """Ends the process that unpickles it, as the kernel ends one that asks for too much memory."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def test_killed_worker_is_a_problem_of_its_case_alone(
    pair: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "BYTES_PER_WORKER", 1)
    (image, lm), others = pair("raw_1"), [pair(f"raw_{k}") for k in (2, 3)]
    tasks = [Deadly("raw_1", image, lm, 0), *(measure.CaseTask(f"raw_{k}", *o, 0) for k, o in enumerate(others, 2))]
    results = {r.case_id: r for r in scan._results(tasks, 2, run_jobs)}
    assert sorted(results) == ["raw_1", "raw_2", "raw_3"]
    assert "exit status 1" in results["raw_1"].problems[0].found
    assert all(results[c].facts is not None and not results[c].problems for c in ("raw_2", "raw_3"))


def test_every_defect_in_one_pass_and_good_cases_kept(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    pair("raw_2", lm=lm_array()[:, :, :-2])
    pair("raw_3")[1].unlink()
    save(folder / "images" / "raw-4.nii.gz", image_array())
    (folder / "images" / "raw_5.nii.gz").symlink_to(folder / "absent.nii.gz")
    save(folder / "lms" / "raw_5.nii.gz", lm_array())
    (folder / "images" / ".hidden").touch()
    (folder / "images" / "loop").symlink_to(folder)
    (folder / "images" / "notes.txt").touch()
    report = Datasource(folder).scan(tmp_path / "store")
    assert [r.case_id for r in report.records] == ["raw_1"]
    found = "\n".join(texts(report.problems))
    assert len(report.errors) == 4
    for part in (
        "raw_2 label map grid: size",
        "raw_3 image without label map",
        "a hyphen",
        "raw_5",
        "a link to a file",
    ):
        assert part in found
    warned = "\n".join(texts(report.problems, "warning"))
    assert "a directory" in warned
    assert ".txt" in warned
    with pytest.raises(CasesFailed, match="4 errors"):
        report.raise_for_errors()


def test_rounded_affine_is_harmonised_and_noted(folder: Path, pair: Writer, tmp_path: Path) -> None:
    shifted = AFFINE + np.array([[0, 0, 0, 5e-5], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    pair("raw_1", lm_affine=shifted)
    pair("raw_2", lm=lm_array()[::-1].copy(), lm_affine=shifted)
    report = Datasource(folder, modality="CT").scan(tmp_path / "store")
    assert len(report.records) == 2
    assert [(p.case_id, p.severity, p.what) for p in report.problems] == [
        ("raw_1", "note", "rounded affine"),
        ("raw_2", "note", "rounded affine"),
    ]
    assert report.verdicts == {"raw_1": "note", "raw_2": "note"}


@pytest.mark.parametrize(("shift_mm", "kept"), [(0.4, True), (0.7, False)])
def test_shift_is_graded_by_half_a_voxel(
    folder: Path, pair: Writer, tmp_path: Path, shift_mm: float, kept: bool
) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += shift_mm
    pair("raw_1", lm_affine=moved)
    report = Datasource(folder, modality="CT").scan(tmp_path / "store")
    assert bool(report.records) is kept
    found = texts(report.problems, "warning" if kept else "error")[0]
    assert f"{shift_mm}" in found


def test_same_grid_in_another_axis_order(folder: Path, pair: Writer, tmp_path: Path) -> None:
    swap = np.array([[0, 0, -1, SHAPE[0] - 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    turned = lm_array()[::-1].transpose(1, 2, 0)
    pair("raw_1", lm=turned, lm_affine=AFFINE @ swap)
    pair("raw_2", image=image_array(1))
    turned_case, plain = Datasource(folder).scan(tmp_path / "store").records
    assert turned_case.facts.lm_orientation == "ASR"
    assert turned_case.facts.foreground == plain.facts.foreground


def test_labels_follow_the_declaration(folder: Path, pair: Writer, tmp_path: Path) -> None:
    large = lm_array().astype(np.uint16)
    large[large == 2] = 300
    pair("raw_1")
    pair("raw_2", lm=large)
    undeclared = Datasource(folder).scan(tmp_path / "a")
    assert "300 (6 voxels)" in texts(undeclared.problems)[0]
    declared = Datasource(folder, labels={1: "a", 300: "c"}).scan(tmp_path / "b")
    assert [r.case_id for r in declared.records] == ["raw_2"]
    assert declared.records[0].facts.labels == {1: 72, 300: 6}
    assert "raw_1 label values" in texts(declared.problems)[0]
    # what the facts allow is decided anew each time, although nothing is read again
    again = Datasource(folder, labels={1: "a", 2: "b", 300: "c"}).scan(tmp_path / "b")
    assert (again.n_read, len(again.records), again.errors) == (0, 2, [])


def test_label_in_one_case_alone(folder: Path, pair: Writer, tmp_path: Path) -> None:
    odd = lm_array()
    odd[0, 0, 0] = 7
    for k in range(5):
        pair(f"raw_{k}", lm=odd if k == 3 else None)
    report = Datasource(folder).scan(tmp_path / "store")
    (warning,) = (text for text in texts(report.problems, "warning") if "copied" not in text)
    assert warning.startswith("raw_3 rare label")
    assert "value 7 here alone; cases of each label: 1: 5, 2: 5, 7: 1" in warning


def test_empty_and_constant(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1")
    pair("raw_2", lm=np.zeros(SHAPE, np.uint8))
    pair("raw_3", image=np.full(SHAPE, 7, np.int16))
    report = Datasource(folder).scan(tmp_path / "store")
    assert [r.has_foreground for r in report.records] == [True, False, True]
    assert report.records[1].facts.foreground is None
    warned = "\n".join(texts(report.problems, "warning"))
    assert "raw_2 empty label map" in warned
    assert "raw_3 constant image" in warned
    assert report.records[2].facts.image.std == 0


def test_nothing_labelled_is_an_error(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1", lm=np.zeros(SHAPE, np.uint8))
    report = Datasource(folder).scan(tmp_path / "store")
    assert report.records == []
    assert "all of them empty" in texts(report.problems)[0]


def test_copies_are_warned_of(folder: Path, pair: Writer, tmp_path: Path) -> None:
    other = lm_array()
    other[0, 0, 0] = 1
    pair("raw_1", image=image_array())
    # the same scan, uncompressed and with another label map
    save(folder / "images" / "raw_2.nii", image_array())
    save(folder / "lms" / "raw_2.nii.gz", other)
    pair("raw_3")
    warned = texts(Datasource(folder).scan(tmp_path / "store").problems, "warning")
    assert len(warned) == 4
    assert "raw_1 copied image" in warned[0] and "raw_2.nii" in warned[0]
    assert "raw_2 copied image" in warned[1]
    assert "raw_1 copied label map" in warned[2] and "raw_3.nii.gz" in warned[2]


def test_patients(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_p1a")
    pair("raw_p1b")
    pair("raw_x2")
    report = Datasource(folder, patient_pattern=r"_(p\d)").scan(tmp_path / "store")
    assert [r.patient for r in report.records] == ["p1", "p1"]
    assert "raw_x2 patient" in texts(report.problems)[0]


def test_modality(folder: Path, pair: Writer, tmp_path: Path) -> None:
    pair("raw_1", image=np.abs(image_array()))
    report = Datasource(folder).scan(tmp_path / "store")
    assert report.records[0].modality == "MR"
    assert "inferred MR" in texts(report.problems, "note")[0]
    stated = Datasource(folder, modality="PET").scan(tmp_path / "store")
    assert (stated.records[0].modality, stated.problems) == ("PET", [])


def test_float_image_statistics(folder: Path, pair: Writer, tmp_path: Path) -> None:
    values = np.random.default_rng(3).gamma(2.0, 50.0, SHAPE).astype(np.float32)
    pair("raw_1", image=values)
    facts = Datasource(folder).scan(tmp_path / "store").records[0].facts
    assert not facts.integer_valued
    assert (facts.image.mean, facts.image.std) == pytest.approx((values.mean(), values.std()), rel=1e-5)
    width = float(np.ptp(values)) / statistics.IMAGE_BINS
    assert facts.image.percentiles["50.0"] == pytest.approx(np.percentile(values, 50), abs=2 * width + 1)


def test_unexpected_error_is_one_problem(
    folder: Path, pair: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair("raw_1")

    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(measure, "decode", fail)
    report = Datasource(folder).scan(tmp_path / "store")
    assert "ZeroDivisionError: boom" in texts(report.problems)[0]


def test_interrupted_scan_keeps_what_was_read(
    folder: Path, pair: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(3):
        pair(f"raw_{k}")
    real = scan.measure_case

    def stop_at_last(task: measure.CaseTask) -> measure.CaseResult:
        if task.case_id == "raw_2":
            raise KeyboardInterrupt
        return real(task)

    monkeypatch.setattr(scan, "measure_case", stop_at_last)
    with pytest.raises(KeyboardInterrupt):
        Datasource(folder).scan(tmp_path / "store")
    assert set(store.read_facts(tmp_path / "store")) == {"raw_0", "raw_1"}


def test_file_that_changes_while_it_is_read(
    folder: Path, pair: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = pair("raw_1")
    real = measure.decode

    def read_and_touch(path: Path, content: bytes) -> object:
        volume = real(path, content)
        os.utime(image, ns=(5, 5))
        return volume

    monkeypatch.setattr(measure, "decode", read_and_touch)
    report = Datasource(folder).scan(tmp_path / "store")
    assert "changed while it was read" in texts(report.problems)[0]
