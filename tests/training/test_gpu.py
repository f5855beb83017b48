"""What a training does on a GPU. Each body is a function of the device; those that tell something on a CPU run there.

pytest -m gpu tests/training/test_gpu.py
"""

from __future__ import annotations

import csv
import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from fran.errors import FranError
from fran.inference.predictor import Predictor
from fran.io.checkpoint import read_checkpoint, read_model
from fran.io.volume import volume_of
from fran.networks.cost import network_cost
from fran.training.batch_size import find_batch_size, trial_step
from fran.training.fit import fit
from fran.training.interrupt import TrainingInterrupted
from fran.training.memory import memory_of_training
from fran.training.parts import complete_network
from fran.training.settings import AugmentationSettings, LossSettings
from tests.training.test_exact_resume import EPOCHS, STEPS, SignalAt, network, same

REPOSITORY = Path(__file__).parents[2]
SMALL = {"_target_": "fran.networks.dynunet.dynunet", "filters": 8, "max_filters": 32}
ACCELERATOR = {"cpu": "cpu", "cuda": "gpu"}
TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def needs_gpus(number: int) -> list[pytest.MarkDecorator]:
    reason = f"needs {number} CUDA device(s), found {torch.cuda.device_count()}"
    return [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < number, reason=reason)]


def on_gpu(*values: object) -> object:
    return pytest.param(*values, marks=needs_gpus(1))


@pytest.fixture
def little_memory():
    """Function: leave this process so many MiB of the GPU."""
    total = torch.cuda.get_device_properties(0).total_memory

    def leave(mib: int) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + mib * 2**20) / total)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def losses_of(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as stream:
        return [float(row["train/loss"]) for row in csv.DictReader(stream)]


class Seen(Callback):
    """Devices of the batches, and types of what the network puts out."""

    def __init__(self):
        self.found, self.workers, self.cases = set(), set(), set()

    def on_train_start(self, trainer, module):
        module.network.register_forward_hook(lambda _, inputs, output: self._note(inputs[0], output))
        self.workers.add(trainer.train_dataloader.num_workers)
        volumes = trainer.datamodule.crops.source._volumes.values()
        self.cases = {array.device.type for pair in volumes for array in pair if isinstance(array, torch.Tensor)}

    def _note(self, image, output):
        first = output if isinstance(output, torch.Tensor) else output[0]
        if torch.is_grad_enabled():
            self.found.add((image.device.type, first.dtype))


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "bf16-mixed"), *(on_gpu("cuda", precision) for precision in TYPES)]
)
def test_a_training_computes_where_and_in_what_it_should_and_learns(make_spec, device, precision):
    seen, settings = Seen(), {"accelerator": ACCELERATOR[device], "precision": precision, "num_workers": 0}
    spec = make_spec(SMALL, max_epochs=3, steps_per_epoch=6, val_every_n_epochs=0, **settings)
    # few CPUs compute in 16 bits, and a DynUNet would take a minute
    result = fit(spec, None if device == "cuda" else network(), callbacks=[seen])
    assert seen.found == {(device, TYPES[precision])}
    first, *_, last = losses_of(spec.run_folder)
    assert last < 0.95 * first
    stored = read_checkpoint(result.last)["state_dict"]
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        pytest.param("cpu", "bf16-mixed", marks=pytest.mark.slow),
        *(on_gpu("cuda", precision) for precision in TYPES),
    ],
)
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(make_spec, device, precision):
    """To the bit on a CPU, within the rounding of sums on a GPU, which the steps of SGD do not enlarge.

    The gradient scaler of fp16 counts its steps, so it tells whether it was brought back.
    """

    def spec(name):
        settings = {"max_epochs": EPOCHS, "steps_per_epoch": STEPS, "val_every_n_epochs": 2, "ema_decay": 0.9}
        settings |= {"accelerator": ACCELERATOR[device], "precision": precision, "num_workers": 0}
        made = make_spec(name=name, augmentation=AugmentationSettings(), **settings)
        vars(made.trainer.optimiser).update(name="sgd", momentum=0.9)
        return made

    fit(spec("whole"), network())
    with pytest.raises(TrainingInterrupted):
        fit(spec("broken"), network(), callbacks=[SignalAt(1, 2)])
    fit(spec("broken"), network(), resume=spec("broken").run_folder)
    found, expected = (read_checkpoint(spec(name).run_folder / "last.ckpt") for name in ("broken", "whole"))
    near = {"rtol": 0, "atol": 0} if device == "cpu" else {"rtol": 1e-2, "atol": 2e-3}
    for section in ("state_dict", "fran_ema"):
        for name, value in expected[section].items():
            torch.testing.assert_close(found[section][name], value, **near)
    same(found["fran_state"]["random"], expected["fran_state"]["random"])
    same(found.get("MixedPrecision"), expected.get("MixedPrecision"))
    if (device, precision) == ("cuda", "16-mixed"):
        scaler = expected["MixedPrecision"]
        assert scaler["scale"] < 2**16 or scaler["_growth_tracker"] == EPOCHS * STEPS


@pytest.mark.parametrize("device", ["cpu", on_gpu("cuda")])
def test_cases_on_the_device_train_what_cases_in_files_do(make_spec, device):
    runs = {}
    for cache in ("none", "device"):
        seen, settings = Seen(), {"accelerator": ACCELERATOR[device], "num_workers": 1, "cache": cache}
        spec = make_spec(name=cache, augmentation=AugmentationSettings(), max_epochs=2, **settings)
        fit(spec, network(), callbacks=[seen])
        assert (seen.cases, seen.workers) == (({device}, {0}) if cache == "device" else (set(), {1}))
        runs[cache] = losses_of(spec.run_folder)
    assert runs["device"] == pytest.approx(runs["none"], rel=1e-6 if device == "cpu" else 1e-2)


@pytest.mark.parametrize(("device", "precision"), [("cpu", "bf16"), *(on_gpu("cuda", p) for p in ("32", "bf16", "16"))])
def test_predictions_are_those_of_a_cpu_in_float32(trained, device, precision):
    image = np.random.default_rng(3).integers(-100, 300, (28, 22, 18)).astype(np.int16)
    image[6:20, 5:16, 4:13] += 120
    volume = volume_of(Path("noise.nii.gz"), image, np.diag([1.0, 1.2, 2.5, 1.0]))
    model = read_model(trained)
    expected = Predictor([model], "cpu", precision="32").predict(volume).array
    found = Predictor([model], device, precision=precision).predict(volume).array
    assert len(np.unique(expected)) > 1
    assert (found == expected).mean() > (0.995 if precision == "32" else 0.98)


@pytest.mark.parametrize("device", [on_gpu("cuda")])
def test_a_compiled_network_trains_alike(make_spec, device):
    runs = {}
    for compiled in (False, True):
        settings = {"accelerator": ACCELERATOR[device], "compile": compiled, "num_workers": 0}
        spec = make_spec(SMALL, name=f"compile{compiled}", **settings)
        fit(spec)
        runs[compiled] = losses_of(spec.run_folder)
    assert runs[True] == pytest.approx(runs[False], rel=2e-2)


@pytest.mark.parametrize("device", [on_gpu("cuda")])
def test_the_batch_is_lowered_until_it_fits(make_spec, device, little_memory):
    """The driver says that all of the GPU is free, so the finder only learns of the limit by running out of memory."""
    spec = replace(make_spec(SMALL, accelerator=ACCELERATOR[device]), patch_size=(96, 80, 64))
    little_memory(3000)
    found = find_batch_size(spec)
    assert 1 <= found.batch_size < 256
    step = trial_step(spec, torch.device(device), "32-true")
    step(found.batch_size)
    with pytest.raises(torch.OutOfMemoryError):
        step(3 * found.batch_size)


@pytest.mark.parametrize("device", [on_gpu("cuda")])
def test_a_lack_of_memory_is_said_in_words(make_spec, device, little_memory):
    spec = replace(make_spec(SMALL, accelerator=ACCELERATOR[device], batch_size=8), patch_size=(96, 80, 64))
    little_memory(300)
    with pytest.raises(FranError, match=r"did not suffice for 8 patches .* lower trainer\.batch_size"):
        fit(spec)
    with pytest.raises(FranError, match="find_batch_size: "):
        little_memory(60)
        find_batch_size(spec)


@pytest.mark.parametrize("device", [on_gpu("cuda")])
def test_a_step_takes_the_memory_that_was_estimated(make_spec, device):
    spec = replace(make_spec(SMALL, accelerator=ACCELERATOR[device]), patch_size=(96, 80, 64))
    cost = network_cost(complete_network(spec), spec.patch_size)
    estimate = memory_of_training(cost, spec.trainer, half=False).total
    step = trial_step(spec, torch.device(device), "32-true")
    step(2)
    torch.cuda.reset_peak_memory_stats()
    step(2)
    assert 0.5 < estimate / torch.cuda.max_memory_allocated() < 2


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_gpus(2))])
def test_two_devices_train_what_one_does(make_spec, device):
    """As in test_ranks.py by gloo, here by NCCL."""
    plain = {"accelerator": ACCELERATOR[device], "loss": LossSettings(batch_dice=False), "num_workers": 0}
    pair = make_spec(name="two", devices=2, strategy="ddp", batch_size=1, **plain)
    alone = make_spec(name="one", batch_size=2, **plain)
    result = fit(pair)
    fit(alone)
    assert losses_of(pair.run_folder) == pytest.approx(losses_of(alone.run_folder), rel=1e-2)
    assert set(result.case_dice) == set(pair.data.val_ids)


@pytest.mark.long
def test_the_check_of_a_gpu_runs_whole_on_a_cpu(tmp_path):
    """Tests and benchmark by the one command, which differs on a GPU by the device alone."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NNUNET_PEER", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [str(REPOSITORY / "benchmarks" / "gpu_check.sh"), "--device", "cpu", "--tiny", "--no-compile"],
        env={**kept, "OUT": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "skipped" in (tmp_path / "tests.txt").read_text()
    lines = [json.loads(line) for line in (tmp_path / "bench_gpu.jsonl").read_text().splitlines()]
    (beside,), rows = ([line for line in lines if ("beside" in line) is it] for it in (True, False))
    assert [row["cache"] for row in rows[:3]] == ["device", "ram", "none"]
    assert {row["precision"] for row in rows} == {"32-true", "bf16-mixed"}
    for row in rows:
        assert 0 < row["device_wait_share"] < 1
        # on a CPU both are by one clock
        assert row["device_wait_share"] == pytest.approx(row["pace_wait_share"], abs=0.1)
        assert row["step_s"] * row["steps_per_s"] < 2
        assert row["utilisation"] is row["peak_mb"] is None
        assert row["estimate_mb"] > 0
    assert rows[0]["time_ratio"] == 1
    assert rows[0]["cached_mb"] > 0 == rows[1]["cached_mb"]
    assert beside["nnunet"] is None
