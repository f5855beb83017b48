from __future__ import annotations

import csv
import dataclasses
import math

import numpy as np
import pytest
import torch

from fran.io.case_table import read_cases
from fran.metrics.surface import surface_dice
from fran.training.case_scores import measure_case, table_rows
from fran.training.fit import fit

SPACING_MM = (0.7, 1.3, 2.9)


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    ref = np.zeros((14, 11, 9), np.uint8)
    ref[2:7, 3:8, 2:6], ref[9:12, 4:9, 3:7] = 1, 2
    pred = np.roll(ref, 1, axis=0)
    pred[rng.random(ref.shape) < 0.01] = 1
    return pred, ref


def test_a_case_is_measured_in_mm(maps):
    pred, ref = maps
    found = measure_case(torch.from_numpy(pred), torch.from_numpy(ref), 4, SPACING_MM, 1.0)
    expected = surface_dice(pred, ref, [1, 2], SPACING_MM, 1.0)
    np.testing.assert_allclose(found.nsd, [expected[1], expected[2], math.nan])
    np.testing.assert_allclose(found.pred_mm3[:2], [(pred == v).sum() * 0.7 * 1.3 * 2.9 for v in (1, 2)])
    np.testing.assert_allclose(found.ref_mm3, [(ref == v).sum() * 0.7 * 1.3 * 2.9 for v in (1, 2, 3)])
    assert found.dice[1] == pytest.approx(2 * ((pred == 2) & (ref == 2)).sum() / ((pred == 2).sum() + (ref == 2).sum()))
    assert math.isnan(found.dice[2])
    assert found.mean_dice == pytest.approx(found.dice[:2].mean())


def test_what_is_not_annotated_is_not_judged(maps):
    pred, ref = (torch.from_numpy(m) for m in maps)
    drawn = torch.tensor([True, False, True])
    found = measure_case(pred, ref, 3, SPACING_MM, 1.0, drawn)
    assert np.isnan([found.dice[0], found.nsd[0], found.ref_mm3[0]]).all()
    assert found.pred_mm3[0] > 0
    assert np.isfinite([found.dice[1], found.nsd[1], found.ref_mm3[1]]).all()
    without = measure_case(pred, ref, 3, SPACING_MM, None)
    assert np.isnan(without.nsd).all()
    rows = table_rows({"b": found, "a": without}, ("organ", "lesion"))
    assert [(row.case, row.label) for row in rows] == [("a", "organ"), ("a", "lesion"), ("b", "organ"), ("b", "lesion")]


def test_tables_of_each_validation_and_of_the_best(make_spec):
    spec = make_spec(max_epochs=4, val_every_n_epochs=2)
    result = fit(spec)
    tables = sorted(p.name for p in (spec.run_folder / "validation").iterdir())
    assert tables == ["epoch_0002.csv", "epoch_0004.csv"]
    best = read_cases(spec.run_folder / "cases.csv")
    assert best == read_cases(spec.run_folder / "validation" / f"epoch_{result.best_epoch:04d}.csv")
    assert {row.case for row in best} == set(spec.data.val_ids)
    means = [np.nanmean([row.dice for row in best if row.label == name]) for name in ("organ", "lesion")]
    assert np.nanmean(means) == pytest.approx(result.best_dice, abs=1e-5)
    assert all(row.ref_mm3 > 0 for row in best if row.label == "organ")
    with (spec.run_folder / "metrics.csv").open() as stream:
        last = list(csv.DictReader(stream))[-1]
    final = read_cases(spec.run_folder / "validation" / "epoch_0004.csv")
    assert float(last["val/nsd_organ"]) == pytest.approx(
        np.mean([r.nsd for r in final if r.label == "organ"]), abs=1e-5
    )


def test_a_resume_drops_tables_of_epochs_to_come_and_keeps_the_best(make_spec):
    spec = make_spec(max_epochs=2)
    first = fit(spec)
    folder = spec.run_folder
    (folder / "validation" / "epoch_0007.csv").write_text("case,label,dice\n")  # of a process that was killed
    (folder / "cases.csv").write_text("case,label,dice\n")
    longer = dataclasses.replace(spec, trainer=dataclasses.replace(spec.trainer, max_epochs=3))
    result = fit(longer, resume=folder)
    assert sorted(p.stem for p in (folder / "validation").iterdir()) == ["epoch_0001", "epoch_0002", "epoch_0003"]
    assert result.best_dice >= first.best_dice
    assert read_cases(folder / "cases.csv") == read_cases(folder / "validation" / f"epoch_{result.best_epoch:04d}.csv")


def test_no_surface_dice_where_none_is_wanted(make_spec):
    result = fit(make_spec(max_epochs=1, val_nsd_mm=None))
    assert not [name for name in result.metrics if "nsd" in name]
    header = (result.run_folder / "metrics.csv").read_text().splitlines()[0]
    assert "nsd" not in header
    assert all(math.isnan(row.nsd) for row in read_cases(result.run_folder / "cases.csv"))
