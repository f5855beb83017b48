from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fran.errors import StoreError
from fran.io.casefile import CaseMeta, write_case
from fran.io.manifest import MANIFEST_NAME, Manifest, ManifestEntry

SHAPE = (7, 4, 9)
STATISTICS = {"mean": 1.5, "std": 2.0, "min": -3.0, "max": 9.0, "p005": -2.0, "p995": 8.0}


def entry(case_id: str, key: str = "f00d") -> ManifestEntry:
    return ManifestEntry(f"{case_id}.h5", key, 123, SHAPE, (0.8, 0.9, 2.5), {1: 24, 300: 1}, STATISTICS, "CT", "kits")


def make_manifest(folder: Path, *case_ids: str) -> Manifest:
    return Manifest(folder, "source", {"spacing": [0.8, 0.9, 2.5]}, "abcd", {c: entry(c) for c in case_ids})


def test_round_trip_and_order(tmp_path: Path) -> None:
    make_manifest(tmp_path, "b2", "a1").save()
    first = (tmp_path / MANIFEST_NAME).read_bytes()
    loaded = Manifest.load(tmp_path)
    assert loaded == make_manifest(tmp_path, "a1", "b2")
    assert loaded.cases["a1"].shape == SHAPE
    make_manifest(tmp_path, "a1", "b2").save()
    assert (tmp_path / MANIFEST_NAME).read_bytes() == first


def test_digest_follows_content_and_not_place(tmp_path: Path) -> None:
    digest = make_manifest(tmp_path, "a1", "b2").digest()
    assert len(digest) <= 36
    assert make_manifest(tmp_path / "elsewhere", "b2", "a1").digest() == digest
    assert make_manifest(tmp_path, "a1").digest() != digest
    changed = make_manifest(tmp_path, "a1", "b2")
    changed.cases["a1"].key = "beef"
    assert changed.digest() != digest


def test_reader_reads_the_case(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(-1024, 3000, SHAPE).astype(np.int16)
    affine = ((0.8, 0.0, 0.0, -3.5), (0.0, 0.9, 0.0, 4.0), (0.0, 0.0, 2.5, 7.25), (0.0, 0.0, 0.0, 1.0))
    meta = CaseMeta("a1", "f00d", SHAPE, affine, (0.8, 0.9, 2.5), 1.0, 0.0, "CT", {}, STATISTICS, {}, {})
    write_case(tmp_path / "a1.h5", image, np.zeros(SHAPE, np.uint8), meta, {})
    np.testing.assert_array_equal(make_manifest(tmp_path, "a1").reader("a1").read_all()[0], image)
    with pytest.raises(StoreError, match="'zz' is not in"):
        make_manifest(tmp_path, "a1").reader("zz")


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"format": 99}), json.dumps({"format": 1})])
def test_damaged_manifest_names_the_next_step(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(content)
    with pytest.raises(StoreError, match=r"manifest\.json.*fran preprocess"):
        Manifest.load(tmp_path)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run `fran preprocess` first"):
        Manifest.load(tmp_path)
