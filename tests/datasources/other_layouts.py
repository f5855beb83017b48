"""Tiny folders in the layouts that others use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fran.io.files import write_json

from .raw_pairs import image_array, lm_array, save

V2 = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}, "file_ending": ".nii.gz"}
V1 = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "tumour"}}


def write_nnunet(
    folder: Path, names: Iterable[str], channels: int = 1, stated: Mapping[str, Any] | None = None
) -> Path:
    """nnU-Net v2: a file a channel."""
    names = list(names)
    for k, name in enumerate(names):
        for channel in range(channels):
            save(folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz", image_array(10 * channel + k))
        save(folder / "labelsTr" / f"{name}.nii.gz", different_lm(k))
    numbers = {str(c): f"T{c + 1}" for c in range(channels)} if channels > 1 else V2["channel_names"]
    write_json(
        folder / "dataset.json", {**V2, "channel_names": numbers, "numTraining": len(names), **dict(stated or {})}
    )
    return folder


def write_decathlon(folder: Path, names: Iterable[str], stated: Mapping[str, Any] | None = None) -> Path:
    """The decathlon: one file a case, a list of cases, and the files that macOS leaves behind."""
    names = list(names)
    for k, name in enumerate(names):
        save(folder / "imagesTr" / f"{name}.nii.gz", image_array(k))
        save(folder / "labelsTr" / f"{name}.nii.gz", different_lm(k))
        (folder / "imagesTr" / f"._{name}.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    training = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    write_json(folder / "dataset.json", {**V1, "numTraining": len(names), "training": training, **dict(stated or {})})
    return folder


def write_bids(folder: Path, scans: Iterable[str], lm: str = "desc-manual_dseg", pipeline: str = "manual") -> Path:
    """A T1w and a label map for each of ``sub-01_ses-2``, ...; labels by a table at the pipeline's root."""
    for k, scan in enumerate(scans):
        place = Path(*(token for token in scan.split("_") if token.startswith(("sub-", "ses-")))) / "anat"
        save(folder / place / f"{scan}_T1w.nii.gz", image_array(k))
        save(folder / "derivatives" / pipeline / place / f"{scan}_{lm}.nii.gz", different_lm(k))
    table = "index\tname\tcolor\n0\tbackground\t#000000\n1\tlesion\t#ff0000\n2\toedema\t#00ff00\n"
    (folder / "derivatives" / pipeline / "desc-manual_dseg.tsv").write_text(table)
    write_json(folder / "dataset_description.json", {"Name": "lesions", "BIDSVersion": "1.9.0"})
    return folder


def different_lm(k: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """No two alike."""
    lm = lm_array()
    lm[0, 0, : k % 11] = 1
    lm[0, 1, : k // 11] = 1
    return lm


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder."""
    return {str(p.relative_to(folder)): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in sorted(folder.rglob("*"))}
