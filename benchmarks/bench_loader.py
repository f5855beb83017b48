"""Patches per second of loading and augmenting on one thread: one JSON line on stdout.

    python benchmarks/bench_loader.py FOLDER_OF_A_MANIFEST --patch 96 96 96
    python side_by_side.py --a "$NNUNET loader --work W" --b "python benchmarks/bench_loader.py FOLDER"

What a training does before a step, in one process on one thread: crop (with the surroundings of samples that move),
collate, normalise, augment with the default settings, which are nnU-Net's probabilities and ranges. Keys are those of
the peer's `loader`. `*_cpu_ms_per_patch` is CPU time, which other programs disturb less. `--cache ram|device` keeps the
cases.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from itertools import islice
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from fran import keys
from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.prepare import prepare_batch
from fran.augmentation.settings import AugmentationSettings
from fran.data.datamodule import CropDataModule, DataSpec
from fran.io.manifest import Manifest
from fran.labels import LabelScheme


def batches_of(args: argparse.Namespace, augment: BatchAugmentation | None):
    manifest = Manifest.load(args.folder)
    values = tuple(sorted({value for entry in manifest.cases.values() for value in entry.labels}))
    cases = tuple(manifest.files_by_case())
    properties = {"intensity_clip_range": [-100.0, 300.0], "mean_fg": 100.0, "std_fg": 70.0}
    module = CropDataModule(
        DataSpec(args.folder, cases, (), LabelScheme(values), properties),
        tuple(args.patch),
        args.batch,
        1_000_000,
        fg_fraction=1 / 3,
        num_workers=0,
        cache=args.cache,
        margins=augment.margins if augment is not None else None,
    )
    module.setup("fit")
    for batch in module.train_dataloader():
        if augment is None:
            yield batch[keys.IMAGE].float(), batch[keys.LM]
            continue
        yield prepare_batch(batch, augment)


def rate(name: str, args: argparse.Namespace, batches) -> dict[str, float]:
    for _ in islice(batches, 16):
        pass
    wall, cpu = [], []
    for _ in range(args.repeats):
        began = time.perf_counter(), time.process_time()
        for _ in islice(batches, args.batches):
            pass
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    patches = args.batches * args.batch
    return {
        f"{name}_patches_per_s": round(patches / median(wall), 3),
        f"{name}_cpu_ms_per_patch": round(1000 * median(cpu) / patches, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 96])
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.5, 1.5, 3.0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", default="none")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures = {"framework": "fran", "batch": args.batch, "patch": args.patch, "load_before": os.getloadavg()[0]}
    augment = BatchAugmentation(AugmentationSettings(), tuple(args.spacing))
    figures |= rate("augmented_1_thread", args, batches_of(args, augment))
    figures |= rate("plain_1_thread", args, batches_of(args, None))
    figures["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
