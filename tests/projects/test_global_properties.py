from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fran.datasources.datasource import Datasource
from fran.datasources.records import CaseArrays
from fran.datasources.store import read_arrays
from fran.errors import DataError, StoreError
from fran.io.volume import read_volume
from fran.projects.pooling import tones_of
from fran.projects.project import Project
from fran.projects.properties import clipped_moments, pooled_moments, weighted_percentiles

from .raw_cases import write_cases


def foreground(folder: Path) -> list[np.ndarray]:
    return [
        read_volume(path).array[read_volume(folder / "lms" / path.name, role="lm").array > 0].astype(float)
        for path in sorted((folder / "images").iterdir())
    ]


def test_equal_to_numpy_over_pooled_voxels(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    found = project.maybe_store_projectwide_properties()
    voxels = np.concatenate(foreground(kits))
    assert found["mean_fg"] == pytest.approx(voxels.mean())
    assert found["std_fg"] == pytest.approx(voxels.std())
    assert (found["min_fg"], found["max_fg"]) == (voxels.min(), voxels.max())
    assert found["intensity_clip_range"] == pytest.approx(np.percentile(voxels, [0.5, 99.5]), abs=30)
    images = [read_volume(p).array.astype(float) for p in sorted((kits / "images").iterdir())]
    clipped = np.clip(np.concatenate([i.ravel() for i in images]), *found["intensity_clip_range"])
    assert found["mean_dataset_clipped"] == pytest.approx(clipped.mean())
    assert found["std_dataset_clipped"] == pytest.approx(clipped.std())
    assert found["spacing_median"] == pytest.approx([0.9, 2.0, 1.1])
    assert found["size_median"] == [6, 10, 8]
    assert found["labels_all"] == [1, 2]
    assert found["label_cases"] == {"1": 6, "2": 3}
    assert found["label_voxels"]["1"] == sum(c.labels[1] for c in project.cases())
    assert (found["clip_rank_error"], found["n_voxels_sampled"]) == (0.0, found["n_voxels_fg"])
    assert found["n_cases"] == 6


def test_test_cases_change_nothing(project: Project, kits: Path, lits: Path) -> None:
    project.add_data([kits_source := Datasource(kits)])
    before = project.maybe_store_projectwide_properties()
    project.add_data([kits_source, Datasource(lits)], test=[False, True])
    assert project.maybe_store_projectwide_properties() == before
    assert 3 not in project.labels.values


def test_equal_weights_are_numpys_percentiles() -> None:
    values = np.random.default_rng(0).normal(size=101)
    for weight in (1.0, 2.5):
        found = weighted_percentiles(values, np.full(101, weight), (0.5, 50, 99.5))
        assert found == pytest.approx(np.percentile(values, (0.5, 50, 99.5)))


def test_weights_stand_for_repetitions() -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=2000), rng.integers(1, 9, 2000)
    repeated = np.percentile(np.repeat(values, weights), (0.5, 20, 99.5))
    assert weighted_percentiles(values, weights.astype(float), (0.5, 20, 99.5)) == pytest.approx(repeated, abs=0.02)


@given(st.lists(st.lists(st.integers(-1000, 3000), min_size=1, max_size=9), min_size=1, max_size=6))
def test_pooled_moments(sets: list[list[int]]) -> None:
    mean, std = pooled_moments([(len(s), float(np.mean(s)), float(np.std(s))) for s in sets])
    pooled = np.concatenate(sets)
    assert (mean, std) == pytest.approx((pooled.mean(), pooled.std()), abs=1e-6)


def test_clipped_moments_of_two_tables() -> None:
    a, b = np.array([0, 1, 1, 5]), np.array([3, 9])
    tables = []
    for values in (a, b):
        edges = np.arange(values.min(), values.max() + 1.0)
        counts = np.array([(values == e).sum() for e in edges], dtype=float)
        tables.append(np.array([edges, counts, edges * counts, edges**2 * counts]))
    clipped = np.clip(np.concatenate([a, b]), 1, 4.5)
    assert clipped_moments(tones_of(tables), 1, 4.5) == pytest.approx((clipped.mean(), clipped.std()))


def test_no_foreground_in_training(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)], test=True)
    with pytest.raises(DataError, match="expected training cases with foreground"):
        project.maybe_store_projectwide_properties()


def test_more_cases_are_noticed(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    before = project.maybe_store_projectwide_properties()
    stamp = project.folders.global_properties.stat().st_mtime_ns
    project.maybe_store_projectwide_properties()
    assert project.folders.global_properties.stat().st_mtime_ns == stamp
    write_cases(kits, "kits", 1, start=6)
    project.add_data([Datasource(kits)])
    after = project.maybe_store_projectwide_properties()
    assert (before["n_cases"], after["n_cases"]) == (6, 7)
    assert project.properties == after


def test_one_case_more_reads_one_case(project: Project, kits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(store: Path, case_ids: list[str], limit: int) -> Iterator[tuple[str, CaseArrays]]:
        read.extend(case_ids)
        return read_arrays(store, case_ids, limit)

    monkeypatch.setattr("fran.projects.statistics.read_arrays", counting)
    project.add_data([Datasource(kits)])
    project.maybe_store_projectwide_properties()
    assert len(read) == 6
    write_cases(kits, "kits", 1, start=6)
    project.add_data([Datasource(kits)])
    grown = project.maybe_store_projectwide_properties()
    assert read[6:] == ["kits_06"]
    project.folders.pool.unlink()
    project.folders.global_properties.unlink()
    anew = project.maybe_store_projectwide_properties()
    assert read[7:] == [f"kits_{k:02d}" for k in range(7)]
    numbers = {key for key, value in anew.items() if isinstance(value, float)}
    assert {k: grown[k] for k in numbers} == pytest.approx({k: anew[k] for k in numbers})
    assert {k: v for k, v in grown.items() if k not in numbers} == {k: v for k, v in anew.items() if k not in numbers}


def test_case_that_leaves_is_taken_out_of_the_pool(project: Project, kits: Path, lits: Path) -> None:
    project.add_data([Datasource(kits)])
    before = project.maybe_store_projectwide_properties()
    project.add_data([Datasource(lits)])
    assert project.maybe_store_projectwide_properties()["mean_fg"] != before["mean_fg"]
    project.drop_data("lits")
    assert project.maybe_store_projectwide_properties() == before


def test_bounded_samples_are_within_the_stated_error(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fran.projects.statistics.SAMPLE_VOXELS", 1200)
    monkeypatch.setattr("fran.projects.pooling.SAMPLE_VOXELS", 1200)
    folder = write_cases(tmp_path / "raw" / "many", "many", 40)
    project.add_data([Datasource(folder)])
    found = project.maybe_store_projectwide_properties()
    voxels = np.concatenate(foreground(folder))
    assert found["n_voxels_sampled"] <= 1200 < found["n_voxels_fg"] == voxels.size
    assert 0 < found["clip_rank_error"] < 1
    for limit, percentile in zip(found["intensity_clip_range"], (0.5, 99.5), strict=True):
        rank = 100 * (voxels < limit).mean()
        assert abs(rank - percentile) < 4 * found["clip_rank_error"]


@pytest.mark.parametrize("damage", [b"", b"PK nonsense", b"\x93NUMPY"])
def test_damaged_pool_is_made_anew(project: Project, kits: Path, damage: bytes) -> None:
    project.add_data([Datasource(kits)])
    before = project.maybe_store_projectwide_properties()
    project.folders.pool.write_bytes(damage)
    project.folders.global_properties.unlink()
    assert project.maybe_store_projectwide_properties() == before


def test_statistics_that_are_gone(project: Project, kits: Path) -> None:
    project.add_data([Datasource(kits)])
    shutil.rmtree(project.folders.statistics("kits"))
    with pytest.raises(StoreError, match=r"found none for kits_00, .*run fran init"):
        project.maybe_store_projectwide_properties()


def test_labels_are_those_of_the_output(project: Project, kits: Path, lits: Path) -> None:
    names_of_kits, names_of_lits = {1: "kidney", 2: "cyst"}, {1: "liver", 3: "cyst"}
    project.add_data([Datasource(kits, labels=names_of_kits), Datasource(lits, labels=names_of_lits)])
    assert project.maybe_store_projectwide_properties()["labels_all"] == [1, 2, 3]
    project.set_lm_groups([["kits"], ["lits"]])
    found = project.maybe_store_projectwide_properties()
    assert found["label_names"] == {"1": "kidney", "2": "kits_cyst", "3": "liver", "4": "lits_cyst"}
    assert found["label_cases"] == {"1": 6, "2": 3, "3": 4, "4": 2}
