"""Stop a training by a real signal, resume it, and find what an uninterrupted one would have made, bit for bit."""

from __future__ import annotations

import csv
import os
import signal
from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn

from fran.io.checkpoint import read_checkpoint, read_model
from fran.training.fit import fit
from fran.training.interrupt import TrainingInterrupted
from fran.training.settings import AugmentationSettings

EPOCHS, STEPS = 4, 4
COMPARED = ("state_dict", "optimizer_states", "fran_ema", "callbacks", "global_step", "epoch", "fran_epoch_loss")
TIMED = ("elapsed_s", "train/data_wait_share", "train/patches_per_s", "waits")


class SignalAt(Callback):
    """Send this process a signal at the start of a batch of an epoch, or of its validation."""

    def __init__(self, epoch, batch, *, validation=False, number=signal.SIGTERM):
        self.place, self.number = (epoch, batch, validation), number

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.place == (trainer.current_epoch, batch_idx, False):
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if self.place == (trainer.current_epoch, batch_idx, True):
            os.kill(os.getpid(), self.number)


def network():
    torch.manual_seed(1)
    # dropout makes the random state, batch normalisation buffers a part of what must come back
    return nn.Sequential(
        nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.Dropout3d(0.3), nn.Conv3d(6, 3, 3, padding=1)
    )


def rows(run):
    with (run / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(stream)]


def same(found, expected, where=""):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            if key in TIMED:
                continue
            same(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            same(found[place], value, f"{where}/{place}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert found == expected, where


PLACES = {
    "in an epoch": SignalAt(1, 2),
    "with the first batch": SignalAt(0, 0),
    "with the last batch before a validation": SignalAt(1, STEPS - 1),
    "with the last batch of an epoch without one": SignalAt(2, STEPS - 1),
    "in a validation": SignalAt(1, 1, validation=True),
    "in the last validation": SignalAt(3, 0, validation=True),
}
WAYS = {
    "plain": {},
    "averaged": {"ema_decay": 0.9},
    "accumulated": {"accumulate": 2, "ema_decay": 0.9, "steps_per_epoch": STEPS // 2},
    "with workers": {"num_workers": 2, "precision": "bf16-mixed"},
}


# loader processes take seconds to start
SOME = ("in an epoch", "in a validation")
PAIRS = [
    *(("averaged", place) for place in PLACES),
    *((way, place) for way in WAYS for place in SOME if way != "averaged"),
]


@pytest.mark.parametrize(("way", "place"), PAIRS)
def test_interrupted_equals_uninterrupted(make_spec, way, place):
    def spec(name):
        settings = {"max_epochs": EPOCHS, "steps_per_epoch": STEPS, "val_every_n_epochs": 2, **WAYS[way]}
        made = make_spec(name=name, augmentation=AugmentationSettings(), **settings)
        made.trainer.optimiser.schedule = "plateau" if way == "averaged" else "cosine"
        made.trainer.optimiser.plateau_patience = 1
        return made

    whole, broken = spec("whole"), spec("broken")
    fit(whole, network())
    with pytest.raises(TrainingInterrupted, match=r"stopped by SIGTERM at step .* holds everything .* resume=broken"):
        fit(broken, network(), callbacks=[PLACES[place]])
    steps = read_checkpoint(broken.run_folder / "last.ckpt")["global_step"]
    epoch, batch, validation = PLACES[place].place
    batches = epoch * STEPS + (STEPS if validation else batch + 1)
    accumulate = broken.trainer.accumulate
    assert steps == -(-batches // accumulate), "the step that was begun is finished, and none after it"

    fit(spec("broken"), network(), resume=broken.run_folder)
    for file in ("last.ckpt", "best.ckpt"):
        found, expected = (read_checkpoint(run.run_folder / file) for run in (broken, whole))
        for key in COMPARED:
            same(found.get(key), expected.get(key), f"{file} {key}")
        same(found["fran_state"]["random"], expected["fran_state"]["random"])
    assert rows(broken.run_folder) == rows(whole.run_folder)
    assert len(rows(whole.run_folder)) == EPOCHS


class Scaled(Callback):
    """Train with a gradient scaler, as under fp16 on a GPU, whose scale doubles after each two steps."""

    def setup(self, trainer, module, stage):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        plugin.autocast_context_manager = nullcontext  # a CPU has no fp16 to compute in
        trainer.strategy.precision_plugin = plugin


def test_the_gradient_scaler_goes_on_too(make_spec):
    settings = {"max_epochs": 2, "steps_per_epoch": STEPS, "val_every_n_epochs": 0}
    whole, broken = (make_spec(name=name, **settings) for name in ("whole", "broken"))
    fit(whole, network(), callbacks=[Scaled()])
    with pytest.raises(TrainingInterrupted):
        fit(broken, network(), callbacks=[Scaled(), SignalAt(1, 0)])
    kept = read_checkpoint(broken.run_folder / "last.ckpt")["MixedPrecision"]
    assert (kept["scale"], kept["_growth_tracker"]) == (2.0**10, 1)
    fit(broken, network(), callbacks=[Scaled()], resume=broken.run_folder)
    found, expected = (read_checkpoint(run.run_folder / "last.ckpt") for run in (broken, whole))
    for key in ("MixedPrecision", "state_dict", "optimizer_states"):
        same(found[key], expected[key], key)
    assert found["MixedPrecision"]["scale"] == 2.0**12


def test_a_training_stopped_again_and_again_arrives(make_spec):
    settings = {"max_epochs": 2, "steps_per_epoch": 3, "ema_decay": 0.9}
    whole, broken = (make_spec(name=name, **settings) for name in ("whole", "broken"))
    fit(whole, network())
    places = [SignalAt(0, 0), SignalAt(0, 1), SignalAt(0, 0, validation=True), SignalAt(1, 0), SignalAt(1, 1)]
    for number, place in enumerate(places):
        with pytest.raises(TrainingInterrupted):
            fit(broken, network(), callbacks=[place], resume=broken.run_folder if number else None)
    fit(broken, network(), resume=broken.run_folder)
    found, expected = (read_checkpoint(run.run_folder / "last.ckpt") for run in (broken, whole))
    for key in COMPARED:
        same(found.get(key), expected.get(key), key)
    assert rows(broken.run_folder) == rows(whole.run_folder)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, 138), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_each_signal_has_its_exit_status(make_spec, number, status):
    former = signal.getsignal(number)
    with pytest.raises(TrainingInterrupted) as caught:
        fit(make_spec(), callbacks=[SignalAt(0, 1, number=number)])
    assert caught.value.status == status
    assert signal.getsignal(number) is former


class TwiceCtrlC(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_does_not_wait(make_spec):
    spec = make_spec()
    with pytest.raises(KeyboardInterrupt):
        fit(spec, callbacks=[TwiceCtrlC()])
    assert not (spec.run_folder / "last.ckpt").exists()


def test_the_average_is_what_is_validated_and_exported(make_spec):
    spec = make_spec(max_epochs=1, steps_per_epoch=8, ema_decay=0.5)
    steps, validated = [], []

    class Weights(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            steps.append({k: v.clone() for k, v in module.network.state_dict().items()})

        def on_validation_batch_end(self, trainer, module, *_):
            validated.append({k: v.clone() for k, v in module.network.state_dict().items()})

    torch.manual_seed(1)
    convolution = nn.Conv3d(1, 3, 3, padding=1)
    expected = {k: v.clone() for k, v in convolution.state_dict().items()}
    result = fit(spec, convolution, callbacks=[Weights()])
    for step, weights in enumerate(steps, 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {k: decay * v + (1 - decay) * weights[k] for k, v in expected.items()}
    for name, value in read_model(result.best).state_dict.items():
        torch.testing.assert_close(value, expected[name])
        assert torch.equal(value, validated[0][name])
        assert not torch.equal(value, steps[-1][name])
        assert torch.equal(convolution.state_dict()[name], steps[-1][name]), "training goes on with the weights"


def test_an_average_may_begin_and_end_with_a_resume(make_spec):
    fit(make_spec(max_epochs=1))
    averaged = make_spec(max_epochs=2, ema_decay=0.9)
    fit(averaged, resume=averaged.run_folder)
    assert set(read_checkpoint(averaged.run_folder / "last.ckpt")["fran_ema"]) == {"weight", "bias"}
    fit(make_spec(max_epochs=3), resume=averaged.run_folder)
    assert "fran_ema" not in read_checkpoint(averaged.run_folder / "last.ckpt")
