"""The picture of a training's course."""

from __future__ import annotations

import csv
import struct

import pytest

from fran.errors import DataError
from fran.reporting.curves import curves_png


def _metrics(path, labels):
    names = ["epoch", "train/loss", "train/lr", "val/dice", *(f"val/dice_{n}" for n in labels)]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for epoch in range(6):
            validated = [0.1 * epoch] * (1 + len(labels)) if epoch % 2 else [""] * (1 + len(labels))
            writer.writerow([epoch, 1 / (epoch + 1), 0.01, *validated])
    return path


@pytest.mark.parametrize("n_labels", [1, 2, 30])
def test_a_png_of_one_size(tmp_path, n_labels):
    metrics = _metrics(tmp_path / "metrics.csv", [f"label_{n}" for n in range(n_labels)])
    content = curves_png(metrics, tmp_path / "curves.png").read_bytes()
    assert struct.unpack(">II", content[16:24]) == (1210, 440)
    other = _metrics(tmp_path / "other.csv", ["label_0"])
    other.write_text(other.read_text().replace("0.5", "0.9"))
    assert curves_png(other, tmp_path / "other.png").read_bytes() != content


def test_a_training_without_validation_has_a_loss(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,train/loss,train/lr,val/dice,val/dice_organ\n0,1.5,0.1,,\n1,1.2,0.1,,\n")
    assert curves_png(path, tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize("content", [None, "epoch,train/loss\n"])
def test_nothing_to_draw_is_said(tmp_path, content):
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match="metrics"):
        curves_png(path, tmp_path / "curves.png")
