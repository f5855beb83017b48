"""The files that make a folder a MONAI Bundle: metadata.json and inference.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import fran
from fran.bundle.formats import Checked
from fran.io.checkpoint import ModelFile
from fran.labels import LabelScheme

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
#: Of images without a calibrated unit: `fran.io.intensity` leaves the minimum out, for air and padding sit there.
OWN_STATISTICS = (
    "$lambda x: (lambda fg: (torch.minimum(torch.maximum(x, torch.quantile(fg, 0.005)), torch.quantile(fg, 0.995))"
    " - fg.mean()) / fg.std(correction=0).clamp_min(1e-8))(x[x > x.min()])"
)


def metadata(
    models: Sequence[ModelFile], members: Sequence[Mapping[str, Any]], checks: Sequence[Checked]
) -> dict[str, Any]:
    """Content of configs/metadata.json."""
    meta = models[0].meta
    labels = LabelScheme.from_dict(meta["labels"])
    image = {
        "type": "image", "format": "hounsfield" if _is_ct(meta) else "magnitude", "modality": str(meta["modality"]),
        "num_channels": 1, "spatial_shape": list(meta["patch_size"]), "dtype": "float32", "value_range": [],
        "is_patch_data": True, "channel_def": {"0": "image"},
    }  # fmt: skip
    pred = {
        "type": "image", "format": "segmentation", "num_channels": labels.n_classes,
        "spatial_shape": list(meta["patch_size"]), "dtype": "float32", "value_range": [], "is_patch_data": True,
        "channel_def": {str(i): name for i, name in enumerate(labels.channel_names)},
    }  # fmt: skip
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel")},
        "name": str(meta.get("run", "fran model")),
        "task": f"segmentation of {', '.join(labels.channel_names[1:])} in {meta['modality']}",
        "description": f"{len(models)} network(s) trained with fran {fran.__version__}",
        "authors": "",
        "copyright": "",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
        "fran": {
            "version": fran.__version__,
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            "spacing_mm": [float(s) for s in meta["spacing"]],
            "patch_size": [int(n) for n in meta["patch_size"]],
            "mode": str(meta["mode"]),
            "labels": {str(v): labels.names[v] for v in labels.values},
            "postprocess": meta.get("postprocess") or {},
            "members": [_provenance(member) for member in members],
            "checks": [checked.to_dict() for checked in checks],
        },
    }


def inference(models: Sequence[ModelFile]) -> dict[str, Any]:
    """Content of configs/inference.json: the way from files to label maps in MONAI alone, through models/model.ts."""
    meta = models[0].meta
    labels = LabelScheme.from_dict(meta["labels"])
    own = [] if _is_ct(meta) else [{"_target_": "Lambdad", "keys": "image", "func": OWN_STATISTICS}]
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "network": "$@network_def.eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [float(s) for s in meta["spacing"]], "mode": 3},
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
                *own,
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [int(n) for n in meta["patch_size"]],
            "sw_batch_size": 1,
            "overlap": 0.5,
            "mode": "gaussian",
            "padding_mode": "replicate",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {
                    "_target_": "MapLabelValued",
                    "keys": "pred",
                    "orig_labels": list(range(labels.n_classes)),
                    "target_labels": [0, *labels.values],
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_dtype": "$torch.uint16",
                },
            ],
        },
        "predicted": "$[@postprocessing({**item, 'pred': @inferer(item['image'][None].to(@device), @network)[0].cpu()})"
        " for item in (@preprocessing({'image': file}) for file in @datalist)]",
        "run": ["$@predicted"],
    }


def _provenance(member: Mapping[str, Any]) -> dict[str, Any]:
    meta = member["meta"]
    datasets = meta.get("datasets") or {}
    return {
        "run": str(meta.get("run", "")),
        "project": str(meta.get("project", "")),
        "fold": meta.get("fold"),
        "network": meta["network"],
        "weights": member["weights"],
        "sha256": member["sha256"],
        "trained_on": datasets.get("n_train", "unknown"),
        "dataset_digest": datasets.get("digest"),
        "git_commit": meta.get("git_commit"),
        "versions": meta.get("versions") or {},
    }


def _is_ct(meta: Mapping[str, Any]) -> bool:
    return str(meta["modality"]).upper() == "CT"
