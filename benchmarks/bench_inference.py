"""Time and memory of predicting one CT: network against everything else. One JSON line on standard output.

    python benchmarks/bench_inference.py [--classes 3] [--threads 2] [--tile-batch 2]

The image is noise with a few blobs on a clinical grid; the network is a small DynUNet with random weights, so only
time and memory mean anything. ``else_s`` is what is not the network: reading, resampling, export and writing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_image(folder / "ct_1.nii.gz", options.shape)
        checkpoint = _write_model(folder / "run" / "best.ckpt", options.classes, options.filters)
        print(json.dumps(_measure(folder, checkpoint, options)))


def _measure(folder: Path, checkpoint: Path, options: argparse.Namespace) -> dict[str, object]:
    from fran.inference.folder import predict_folder
    from fran.inference.predictor import Predictor
    from fran.io.checkpoint import read_model
    from fran.io.files import read_json

    started = perf_counter()
    predictor = Predictor([read_model(checkpoint)], options.device, tile_batch=options.tile_batch)
    loaded = perf_counter()
    rss_before = _peak_rss_mb()
    report = predict_folder(predictor, folder / "ct_1.nii.gz", folder / "out", progress=False)
    parts = read_json(folder / "out" / "ct_1.json")["seconds"]
    wall = report.cases[0].seconds
    return {
        "bench": "inference",
        "shape": list(options.shape),
        "classes": options.classes,
        "threads": options.threads,
        "device": str(predictor.device),
        "load_model_s": round(loaded - started, 3),
        "wall_s": round(wall, 3),
        "network_s": parts["network"],
        "else_s": round(wall - parts["network"], 3),
        "prepare_s": parts["prepare"],
        "export_s": parts["export"],
        "peak_rss_before_mb": rss_before,
        "peak_rss_mb": _peak_rss_mb(),
    }


def _write_image(path: Path, shape: tuple[int, int, int]) -> None:
    import nibabel
    import numpy as np

    rng = np.random.default_rng(0)
    image = rng.normal(40, 20, shape).astype(np.int16)
    for _ in range(12):
        centre = [rng.integers(0, n) for n in shape]
        image[tuple(slice(max(0, c - 15), c + 15) for c in centre)] += 120
    nibabel.save(nibabel.Nifti1Image(image, np.diag([-0.8, -0.8, 2.5, 1])), path)


def _write_model(path: Path, n_classes: int, filters: int) -> Path:
    import torch

    from fran.io.checkpoint import write_checkpoint
    from fran.networks.build import build_network, fill_spec

    spacing, patch = (1.2, 1.2, 2.5), (96, 96, 64)
    spec = fill_spec({"_target_": "fran.networks.dynunet.dynunet", "filters": filters}, 1, n_classes, patch, spacing)
    torch.manual_seed(0)
    state = {f"network.{key}": value for key, value in build_network(spec).state_dict().items()}
    values = list(range(1, n_classes))
    meta = {
        "format": 1, "run": "bench", "network": spec, "labels": {"values": values, "names": {}}, "modality": "CT",
        "properties": {"intensity_clip_range": [-100, 300], "mean_fg": 60.0, "std_fg": 50.0},
        "spacing": list(spacing), "patch_size": list(patch), "mode": "source",
    }  # fmt: skip
    meta["labels"] = {"values": values, "names": {str(v): f"label_{v}" for v in values}}
    write_checkpoint({"state_dict": state, "fran": meta}, path)
    return path


def _peak_rss_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 120))
    parser.add_argument("--classes", type=int, default=3, help="background included")
    parser.add_argument("--filters", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tile-batch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
