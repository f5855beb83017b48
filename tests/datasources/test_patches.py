"""Datasources of patches: many files a case."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError

from .raw_pairs import Writer, image_array, lm_array


def patches(folder: Path, pair: Writer) -> Datasource:
    for k, name in enumerate(("raw_1_a", "raw_1_b", "raw_2_a")):
        pair(name, image=image_array(k), lm=lm_array()[::-1].copy() if k % 2 else None)
    return Datasource(folder, ds_type="patch", modality="CT")


def test_each_patch_is_a_case_of_its_parent(folder: Path, pair: Writer, tmp_path: Path) -> None:
    report = patches(folder, pair).scan(tmp_path / "store")
    assert [(r.case_id, r.patient) for r in report.records] == [
        ("raw_1_a", "raw_1"),
        ("raw_1_b", "raw_1"),
        ("raw_2_a", "raw_2"),
    ]
    assert report.errors == []


def test_as_whole_cases_they_would_share_an_id(folder: Path, pair: Writer, tmp_path: Path) -> None:
    patches(folder, pair)
    report = Datasource(folder, modality="CT").scan(tmp_path / "store")
    assert [p.what for p in report.errors] == ["case id", "case id"]


def test_a_pattern_wins_over_the_parent(folder: Path, pair: Writer, tmp_path: Path) -> None:
    patches(folder, pair)
    source = Datasource(folder, ds_type="patch", patient_pattern="(raw)_")
    assert {r.patient for r in source.scan(tmp_path / "store").records} == {"raw"}


def test_another_type_lists_the_choices(folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'patch'"):
        Datasource(folder, ds_type="patches")
