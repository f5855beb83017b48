"""Where the time and the memory of a training go on a GPU: one JSON line for each way of training, as it is measured.

    python benchmarks/bench_gpu.py > gpu.jsonl              # DynUNet, 128 x 128 x 128, batch 2; minutes
    python benchmarks/bench_gpu.py --device cpu --tiny      # the same code at sizes for a CPU

Each row is a training by `fran.training.fit` with default augmentation, of cases made here or of a manifest's
(`--manifest FOLDER`), whose first epoch does not count: the caches, `compile` and `channels_last`, the precisions. One
row is beside nnU-Net: its network and its step by both, where NNUNET_PEER names the folder of nnunet_peer.py and
NNUNET_PYTHON an interpreter that has nnU-Net. `time_ratio` compares a row's time a step with the first row's.

`step_s` (median) runs from a batch's arrival to the end of its step: transfer, augmentation, network, optimiser.
`device_wait_share` is the time between two steps, `pace_wait_share` what fran logs as `train/data_wait_share`. On a GPU
the former is by CUDA events: a wait that the queued work covers is none, and with cache=device it holds the cutting of
crops; the latter is by the process's clock, which runs ahead of the GPU. `utilisation` (%) is the driver's and needs
nvidia-ml-py. `peak_mb` leaves `cached_mb`, the cases on the device, out; `estimate_mb` is fran's for a step. On a CPU
all times are by the process's clock, and what the GPU alone tells is null; bench_step_memory.py has a CPU's memory.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from organ_case import make_case
from pytorch_lightning.callbacks import Callback

from fran.augmentation.settings import AugmentationSettings, no_augmentation
from fran.data.datamodule import DataSpec
from fran.errors import FranError
from fran.io.casefile import CaseMeta, write_case
from fran.io.intensity import intensity_statistics
from fran.io.manifest import Manifest, ManifestEntry
from fran.labels import LabelScheme
from fran.networks.cost import network_cost
from fran.training.fit import fit
from fran.training.hardware import resolve_precision
from fran.training.interrupt import TrainingInterrupted
from fran.training.memory import memory_of_training
from fran.training.parts import complete_network, make_datamodule
from fran.training.settings import PRECISIONS, TrainerSettings
from fran.training.spec import TrainSpec

SPACING, LABELS = (1.5, 1.5, 1.5), 2
PROPERTIES = {"intensity_clip_range": [-100.0, 300.0], "mean_fg": 100.0, "std_fg": 40.0}
FIRST = {"cache": "device", "channels_last": False, "compile": False}
LAST = {"channels_last": True}
ALONE = ({}, {"cache": "ram"}, {"cache": "none"}, LAST, {"compile": True}, {"compile": True, **LAST})
BESIDE = {"beside": "nnU-Net"}
TINY = {"patch": (24, 16, 16), "filters": 4, "shape": (40, 36, 28), "cases": 2, "steps": 2, "epochs": 2}
Figures = dict[str, Any]


class Watch(Callback):
    """Marks on the device's clock: an epoch's begin, then when each batch came and when its step ended."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.epochs: list[list[Any]] = []
        self.began_s: list[float] = []
        self.percent: list[int] = []
        self.over = threading.Event()

    def on_train_start(self, trainer: Any, module: Any) -> None:
        transfer = module.on_before_batch_transfer

        def marked(batch: Any, dataloader_idx: int) -> Any:
            self.epochs[-1].append(self.mark())
            return transfer(batch, dataloader_idx)

        module.on_before_batch_transfer = marked
        if self.device.type == "cuda":
            threading.Thread(target=self._sample, daemon=True).start()

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.began_s.append(time.perf_counter())
        self.epochs.append([self.mark()])

    def on_train_batch_end(self, *_: Any) -> None:
        self.epochs[-1].append(self.mark())

    def on_train_end(self, *_: Any) -> None:
        self.began_s.append(time.perf_counter())

    def mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def spans(self) -> tuple[list[float], list[float]]:
        """Seconds between steps and of steps, in all epochs but the first."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        between, steps = [], []
        for marks in self.epochs[1:]:
            seconds = [_seconds(a, b) for a, b in pairwise(marks)]
            between += seconds[::2]
            steps += seconds[1::2]
        return between, steps

    def _sample(self) -> None:
        while not self.over.wait(0.2):
            try:
                percent = torch.cuda.utilization(self.device)
            except (ModuleNotFoundError, RuntimeError):  # neither nvidia-ml-py nor a driver that tells
                return
            if len(self.epochs) > 1:
                self.percent.append(percent)


def _seconds(begin: Any, end: Any) -> float:
    return float(begin.elapsed_time(end)) / 1000 if isinstance(begin, torch.cuda.Event) else float(end - begin)


def make_manifest(folder: Path, args: argparse.Namespace) -> Manifest:
    """Organs in noise, `--shape` voxels each."""
    manifest = Manifest(folder, "source", {"spacing": list(SPACING)}, "bench")
    affine = tuple(map(tuple, np.diag([*SPACING, 1.0]).tolist()))
    shape = tuple(args.shape)
    for number in range(args.cases):
        case_id, rng = f"case{number}", np.random.default_rng(number)
        _, lm = make_case(shape, LABELS, number)
        image = (rng.normal(0, 30, shape) + 80 * lm).astype(np.int16)
        inside = {int(value): np.argwhere(lm == value) for value in range(1, LABELS + 1) if (lm == value).any()}
        boxes = {v: (tuple(w.min(0).tolist()), tuple((w.max(0) + 1).tolist())) for v, w in inside.items()}
        counts, statistics = {v: len(w) for v, w in inside.items()}, intensity_statistics(image)
        described = case_id, case_id, shape, affine, SPACING, 1.0, 0.0, "CT", counts, statistics, {}, boxes
        file = folder / f"{case_id}.h5"
        write_case(file, image, lm, CaseMeta(*described), {v: w[:: len(w) // 5000 + 1] for v, w in inside.items()})
        manifest.cases[case_id] = ManifestEntry(
            file.name, case_id, file.stat().st_size, shape, SPACING, counts, statistics, "CT", "bench"
        )
    manifest.save()
    return manifest


def ways(args: argparse.Namespace) -> list[Figures]:
    """Settings of the rows, what matters most first; the first with the precision that fran takes by default."""
    by_default = resolve_precision("auto", args.accelerator)
    others = [name for name in PRECISIONS if resolve_precision(name, args.accelerator) == name != by_default]
    more = [{"precision": name, "channels_last": last} for name in others for last in (False, True)]
    wanted = [FIRST | {"precision": by_default} | change for change in (*ALONE, *more)]
    wanted.insert(len(ALONE), BESIDE)
    return [row for row in wanted if args.compile or not row.get("compile")]


def specification(folder: Path, manifest: Manifest, args: argparse.Namespace, row: Figures) -> TrainSpec:
    labels = LabelScheme(tuple(sorted({value for entry in manifest.cases.values() for value in entry.labels})))
    cases = manifest.files_by_case()
    spacing = next(iter(manifest.cases.values())).spacing_mm
    settings = TrainerSettings(
        max_epochs=args.epochs,
        steps_per_epoch=args.steps,
        batch_size=args.batch,
        accelerator=args.accelerator,
        num_workers=args.workers,
        progress=False,
        **row,
    )
    network = {"_target_": "fran.networks.dynunet.dynunet", "filters": args.filters}
    data, patch = DataSpec(manifest.folder, tuple(cases), (), labels, PROPERTIES), tuple(args.patch)
    return TrainSpec(folder, data, network, patch, spacing, settings, AugmentationSettings())


def start_anew(device: torch.device) -> None:
    """Give back what the training before has left."""
    gc.collect()
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def trained(spec: TrainSpec, device: torch.device) -> Figures:
    """Figures of one training."""
    on_gpu, settings = device.type == "cuda", spec.trainer
    start_anew(device)
    watch = Watch(device)
    try:
        fit(spec, callbacks=[watch])
    finally:
        watch.over.set()
    source = make_datamodule(spec, on_gpu=False).crops.source
    cached = source.bytes(on_device=True) / 2**20 if settings.cache == "device" else 0.0
    half = settings.precision != "32-true"
    cost = network_cost(complete_network(spec), spec.patch_size)
    estimate = memory_of_training(cost, settings, half=half).total / 2**20
    peak = torch.cuda.max_memory_allocated() / 2**20 - cached if on_gpu else None
    between, steps = watch.spans()
    spent = sum(between) + sum(steps)
    with (spec.run_folder / "metrics.csv").open() as stream:
        waits = [float(line["train/data_wait_share"]) for line in csv.DictReader(stream)]
    return {
        "step_s": median(steps),
        "steps_per_s": len(steps) / spent,
        "epochs_per_s": (len(watch.epochs) - 1) / (watch.began_s[-1] - watch.began_s[1]),
        "device_wait_share": sum(between) / spent,
        "pace_wait_share": fmean(waits[1:]),
        "utilisation": fmean(watch.percent) if watch.percent else None,
        "peak_mb": peak,
        "reserved_mb": torch.cuda.max_memory_reserved() / 2**20 if on_gpu else None,
        "cached_mb": cached,
        "estimate_mb": estimate,
        "estimate_ratio": estimate / peak if peak else None,
        "parameters": cost.parameters,
    }


def rows(folder: Path, manifest: Manifest, args: argparse.Namespace) -> Iterator[Figures]:
    """Figures of each row; what has not begun in time is named in the last."""
    first_s, wanted = None, ways(args)
    for number, row in enumerate(wanted):
        if time.perf_counter() > args.until:
            yield {"left_out": wanted[number:]}
            return
        run = folder / f"row{number}"
        run.mkdir()
        try:
            if row == BESIDE:
                figures = beside_nnunet(run, manifest, args)
            else:
                figures = trained(specification(run, manifest, args, row), torch.device(args.device))
        except TrainingInterrupted:
            raise
        except (FranError, subprocess.CalledProcessError) as error:  # no memory for it, say: go on with the next
            figures = {"failed": str(error)}
        if "steps_per_s" in figures:
            first_s = first_s or 1 / figures["steps_per_s"]
            figures = {"time_ratio": 1 / figures["steps_per_s"] / first_s, **figures}
        yield {**row, **figures}


def beside_nnunet(folder: Path, manifest: Manifest, args: argparse.Namespace) -> Figures:
    """nnU-Net's network and step by both, in its way: fp16 and compiled on a GPU, fp32 on a CPU."""
    if not os.environ.get("NNUNET_PEER"):
        return {"nnunet": None}
    on_gpu = args.accelerator == "gpu"
    way = FIRST | {"precision": "16-mixed" if on_gpu else "32-true", "compile": on_gpu}
    spec = specification(folder, manifest, args, way)
    spec.trainer.optimiser = replace(spec.trainer.optimiser, name="sgd")
    deep = {"filters": args.filters, "deep_supervision": 9, "conv_bias": True}  # as many heads as the depth allows
    spec = replace(spec, network={"_target_": "fran.networks.unet.unet", **deep}, augmentation=no_augmentation())
    device = torch.device(args.device)
    ours = trained(spec, device)
    start_anew(device)
    peer = nnunet_step(folder, args)
    return {"fran": ours, "nnunet": peer, "ratio": ours["step_s"] / peer["step_s"]}


def nnunet_step(folder: Path, args: argparse.Namespace) -> Figures:
    from fran.datasources.phantom import make_phantoms

    python, peer = os.environ.get("NNUNET_PYTHON", sys.executable), Path(os.environ["NNUNET_PEER"], "nnunet_peer.py")
    data, words = make_phantoms(folder / "data", 2), ["--work", str(folder / "nnunet")]
    size = ["--batch", str(args.batch), "--features", str(args.filters), "--patch", *map(str, args.patch)]
    spacing = ["--data", str(data), "--spacing", *map(str, SPACING)]
    own = Path(__file__).with_name("nnunet_gpu_step.py")
    for command in (
        [peer, "prepare", *words, *spacing, *size],
        [peer, "preprocess", *words, "--alone", "1"],
        [own, *words, "--device", args.device, "--steps", str(args.steps)],
    ):
        done = subprocess.run([python, *map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    answer: Figures = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU; other options change single ones")
    parser.add_argument("--manifest", type=Path, help="folder of preprocessed CT, in place of cases made here")
    parser.add_argument("--patch", type=int, nargs=3, default=(128, 128, 128), metavar=("X", "Y", "Z"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 176), metavar=("X", "Y", "Z"))
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="of each epoch")
    parser.add_argument("--epochs", type=int, default=3, help="of which the first does not count")
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="a compilation takes a minute")
    parser.add_argument("--minutes", type=float, default=60, help="no row begins after them")
    if parser.parse_known_args()[0].tiny:
        parser.set_defaults(**TINY)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a CUDA device, found none; --device cpu --tiny runs the same code at small sizes")
    args.accelerator = "gpu" if args.device == "cuda" else "cpu"
    args.until = time.perf_counter() + 60 * args.minutes
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    common = {"framework": "fran", "torch": torch.__version__, "device": name, "patch": args.patch, "batch": args.batch}
    with tempfile.TemporaryDirectory(prefix="fran-gpu-") as folder:
        work = Path(folder)
        manifest = Manifest.load(args.manifest) if args.manifest else make_manifest(work, args)
        for row in rows(work, manifest, args):
            print(rounded({**common, **row}), flush=True)


def rounded(figures: Figures) -> str:
    return json.dumps(json.loads(json.dumps(figures), parse_float=lambda number: float(f"{float(number):.5g}")))


if __name__ == "__main__":
    main()
