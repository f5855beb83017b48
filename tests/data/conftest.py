"""Tiny preprocessed folders: ellipsoids of labels 3 and 7 in noisy CT or scaled MR, three different side lengths."""

from __future__ import annotations

import os
from pathlib import Path

# several workers share few cores, and tiny volumes gain nothing from threads
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from fran.io.casefile import CaseMeta, write_case
from fran.io.intensity import intensity_statistics
from fran.io.manifest import Manifest, ManifestEntry
from fran.labels import LabelScheme

SPACING_MM = (1.0, 1.2, 2.5)
LABELS = LabelScheme((3, 7), {3: "organ", 7: "lesion"})
CT_PROPERTIES = {"intensity_clip_range": [-100.0, 250.0], "mean_fg": 110.0, "std_fg": 50.0}


def make_case(
    folder: Path, case_id: str, seed: int, shape=(36, 29, 22), modality="CT", datasource="phantom", drawn=(3, 7)
) -> ManifestEntry:
    """A case whose image shows both structures and whose label map holds those that are `drawn`."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    centre = np.array(shape) * rng.uniform(0.4, 0.6, 3)
    lm = np.zeros(shape, np.uint8)
    lm[(((grid - centre) / (np.array(shape) * 0.3)) ** 2).sum(-1) < 1] = 3
    lm[(((grid - centre - [3, 2, 1]) / (np.array(shape) * 0.13)) ** 2).sum(-1) < 1] = 7
    raw = rng.normal(0, 15, shape) - 60 + 170 * (lm == 3) + 270 * (lm == 7)
    lm[~np.isin(lm, drawn)] = 0
    slope, inter = (1.0, 0.0) if modality == "CT" else (0.01, 300.0)
    stored = np.round((raw - inter) / slope).astype(np.int16)
    labels = {int(v): int((lm == v).sum()) for v in (3, 7) if (lm == v).any()}
    stats = intensity_statistics(stored, slope, inter)
    affine = tuple(map(tuple, np.diag([*SPACING_MM, 1.0]).tolist()))
    inside = {v: np.argwhere(lm == v) for v in labels}
    boxes = {v: (tuple(w.min(0).tolist()), tuple((w.max(0) + 1).tolist())) for v, w in inside.items()}
    meta = CaseMeta(case_id, f"key{seed}", shape, affine, SPACING_MM, slope, inter, modality, labels, stats, {}, boxes)
    fg = {v: np.argwhere(lm == v)[::3] for v in labels}
    path = folder / f"{case_id}.h5"
    write_case(path, stored, lm, meta, fg)
    size = path.stat().st_size
    return ManifestEntry(path.name, meta.key, size, shape, SPACING_MM, labels, stats, modality, datasource)


def make_folder(folder: Path, n_cases: int, modality: str = "CT") -> Manifest:
    manifest = Manifest(folder, "source", {"spacing": list(SPACING_MM)}, "stagekey")
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [(36, 29, 22), (33, 31, 20), (24, 40, 18)]
    for i in range(n_cases):
        manifest.cases[f"case{i}"] = make_case(folder, f"case{i}", i, shapes[i % 3], modality)
    manifest.save()
    return manifest


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_folder(tmp_path_factory.mktemp("phantoms"), 5)


@pytest.fixture(scope="session")
def mr_manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_folder(tmp_path_factory.mktemp("mr_phantoms"), 2, "MR")


@pytest.fixture
def labels() -> LabelScheme:
    return LABELS


@pytest.fixture
def ct_properties() -> dict[str, object]:
    return dict(CT_PROPERTIES)
