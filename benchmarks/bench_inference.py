"""Time and memory of predicting one CT: network against everything else. One JSON line on standard output.

    python benchmarks/bench_inference.py [--image ct.nii.gz] [--filters 32] [--threads 2] [--ram 1GB]
    python benchmarks/bench_inference.py --export 60      # no network: random scores of so many foreground classes

The network is fran's plain U-Net with random weights, so only time and memory mean anything; without `--image` it sees
noise with a few blobs. Wall and CPU seconds are those of one case, from the file to the label map on disk, imports and
weights excluded; the keys that end in _wall_s are parts of it. `peak_rss_mb` is that of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time


def main() -> None:
    options = _options()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        image = options.image or _write_image(folder / "ct_1.nii.gz", options.shape)
        n_classes = (options.export or options.classes - 1) + 1
        checkpoint = _write_model(folder / "run" / "best.ckpt", n_classes, options)
        print(json.dumps(_measure(folder, image, checkpoint, options)))


def _measure(folder: Path, image: Path, checkpoint: Path, options: argparse.Namespace) -> dict[str, object]:
    from fran.inference.folder import predict_folder
    from fran.inference.predictor import Predictor
    from fran.io.checkpoint import read_model
    from fran.io.files import read_json
    from fran.io.volume import stem

    started = perf_counter()
    settings = {
        "tile_batch": options.tile_batch,
        "ram": options.ram,
        "scratch": options.scratch,
        "precision": options.precision,
    }
    predictor = Predictor([read_model(checkpoint)], options.device, **settings)
    loaded = perf_counter()
    if options.export:
        _without_network(predictor, options.export + 1)
    before = _rss_mb("VmRSS")
    cpu, wall = process_time(), perf_counter()
    with _fresh_peak():
        predict_folder(predictor, image, folder / "out", progress=False)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    record = read_json(folder / "out" / f"{stem(image)}.json")
    parts, size = record["seconds"], record["grid"]["shape"]
    return {
        "framework": "fran",
        "bench": "export" if options.export else "predict",
        "shape": size,
        "classes": predictor.labels.n_classes,
        "threads": options.threads,
        "device": str(predictor.device),
        "precision": predictor.precision,
        "parameters": sum(p.numel() for p in predictor.members[0].network.parameters()),
        "load_model_s": round(loaded - started, 3),
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "network_wall_s": parts["network"],
        "else_wall_s": round(wall - parts["network"], 3),
        "read_and_preprocess_wall_s": parts["prepare"],
        "export_wall_s": parts["export"],
        "read_prepare_export_write_wall_s": round(wall - parts["network"], 3),
        "scores": record["case"]["scores"],
        "rss_before_mb": before,
        "peak_rss_mb": _rss_mb("VmHWM"),
    }


def _without_network(predictor: object, n_classes: int) -> None:
    """Random scores in the place of the network's, so that every class leads somewhere in every block."""
    import torch

    (member,) = predictor.members  # type: ignore[attr-defined]
    noise = torch.randn((1, n_classes, *member.patch), generator=torch.Generator().manual_seed(0))

    def scores(tiles: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        return noise.expand(len(tiles), -1, -1, -1, -1)  # drawing anew for each tile would take longer than the export

    member.scores = scores


def _write_image(path: Path, shape: tuple[int, int, int]) -> Path:
    import nibabel
    import numpy as np

    rng = np.random.default_rng(0)
    image = rng.normal(40, 20, shape).astype(np.int16)
    for _ in range(12):
        centre = [rng.integers(0, n) for n in shape]
        image[tuple(slice(max(0, c - 15), c + 15) for c in centre)] += 120
    nibabel.save(nibabel.Nifti1Image(image, np.diag([-0.78, -0.78, 2.5, 1])), path)
    return path


def _write_model(path: Path, n_classes: int, options: argparse.Namespace) -> Path:
    import torch

    from fran.io.checkpoint import write_checkpoint
    from fran.networks.build import build_network, fill_spec

    spacing, patch = tuple(options.spacing), tuple(options.patch)
    spec = {"_target_": "fran.networks.unet.unet", "filters": options.filters, "conv_bias": True}
    spec = fill_spec(spec, 1, n_classes, patch, spacing)
    torch.manual_seed(0)
    state = {f"network.{key}": value for key, value in build_network(spec).state_dict().items()}
    values = list(range(1, n_classes))
    meta = {
        "format": 1, "run": "bench", "network": spec, "modality": "CT", "mode": "source",
        "labels": {"values": values, "names": {str(v): f"label_{v}" for v in values}},
        "properties": {"intensity_clip_range": [-100, 300], "mean_fg": 60.0, "std_fg": 50.0},
        "spacing": list(spacing), "patch_size": list(patch),
    }  # fmt: skip
    write_checkpoint({"state_dict": state, "fran": meta}, path)
    return path


@contextmanager
def _fresh_peak() -> Iterator[None]:
    """Set the kernel's high-water mark back, so that loading the weights does not count."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    yield


def _rss_mb(key: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
    return int(status.read_text().partition(f"{key}:")[2].split()[0]) >> 10


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--image", type=Path, help="a CT; noise by default")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 200))
    parser.add_argument("--spacing", type=float, nargs=3, default=(1.5, 1.5, 3.0))
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 48))
    parser.add_argument("--classes", type=int, default=3, help="background included")
    parser.add_argument("--export", type=int, default=0, help="foreground classes of random scores, without a network")
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tile-batch", type=int, default=2)
    parser.add_argument("--ram")
    parser.add_argument("--scratch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
