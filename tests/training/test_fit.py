from __future__ import annotations

import csv
import dataclasses
import math
import os
import signal
import time

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from fran.errors import ConfigError, FranError, StoreError
from fran.io.checkpoint import read_checkpoint, read_model
from fran.networks.build import build_network
from fran.training import module
from fran.training.fit import fit
from fran.training.settings import AugmentationSettings, LossSettings, TrainerSettings
from fran.workflows.train import recipe

TINY = {"_target_": "fran.networks.dynunet.dynunet", "filters": 8, "max_filters": 32}


class Recorder(Callback):
    def __init__(self):
        self.rates, self.outputs, self.epochs_validated = [], [], []

    def on_train_batch_end(self, trainer, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_batch_end(self, trainer, module, outputs, *_):
        self.outputs.append(outputs)

    def on_validation_epoch_end(self, trainer, module):
        self.epochs_validated.append(trainer.current_epoch)


def test_the_recipe_stands_on_one_line(make_spec):
    spec = make_spec(batch_size=3, accumulate=2, lr=0.01, loss=LossSettings(ce_weight=0.5))
    x, y, z = spec.patch_size
    optimiser = spec.trainer.optimiser.describe()
    assert "learning rate 0.01" in optimiser and recipe(spec) == (
        f"{optimiser}; loss Dice + 0.5 x cross-entropy; batch 3 (times 2 a step), patch {x} x {y} x {z}"
    )


@pytest.mark.parametrize(
    ("steps", "least"), [(100, 0.9), pytest.param(300, 0.95, marks=pytest.mark.slow)], ids=["learnt", "by_heart"]
)
def test_two_cases_are_learnt(make_spec, steps, least):
    """Overfit: the cheapest proof that crops, labels, loss and network fit together.

    Its time is asserted too, for a check that takes three minutes is not made before each change: in seconds of one
    core, which is what passes by the clock where nothing else runs.
    """
    spec = make_spec(TINY, train=2, max_epochs=1, steps_per_epoch=steps, fg_fraction=0.8)
    ids = spec.data.train_ids
    began = time.process_time()
    result = fit(spec)
    assert time.process_time() - began < 180
    from fran.augmentation.normalise import normalise_stored
    from fran.data.crops import CaseDataset, collate
    from fran.data.source import CaseSource
    from fran.io.manifest import Manifest
    from fran.metrics.dice import dice_per_label
    from fran.training.validation import predict_channels

    model = read_model(result.last)
    network = build_network(model.meta["network"]).eval()
    network.load_state_dict(model.state_dict)
    source = CaseSource(Manifest.load(spec.data.manifest), ids, spec.data.labels, spec.data.properties)
    for sample in CaseDataset(source):
        batch = collate([sample])
        image = normalise_stored(batch["image"], batch["window"])
        dice = dice_per_label(predict_channels(network, image, spec.patch_size, 3), batch["lm"][0, 0], 3)
        assert dice.min() > least, (sample["case_id"], dice)


def test_files_and_result_of_a_run(make_spec):
    recorder = Recorder()
    spec = make_spec(augmentation=AugmentationSettings(), max_epochs=3)
    result = fit(spec, callbacks=[recorder])
    assert (result.epochs, result.steps, result.stopped_by) == (3, 9, "max_epochs")
    assert sorted(p.name for p in spec.run_folder.iterdir()) == [
        "best.ckpt",
        "cases.csv",
        "last.ckpt",
        "metrics.csv",
        "validation",
    ]
    with (spec.run_folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [r["step"] for r in rows] == ["3", "6", "9"]
    assert {"train/loss", "val/dice", "val/dice_organ", "val/dice_lesion", "train/patches_per_s"} <= set(rows[0])
    assert 0 <= float(rows[0]["train/data_wait_share"]) <= 1
    best = max(rows, key=lambda r: float(r["val/dice"]))
    assert result.best_dice == pytest.approx(float(best["val/dice"]), rel=1e-4)
    assert read_checkpoint(result.best)["epoch"] + 1 == result.best_epoch == int(best["epoch"])
    assert set(result.case_dice) == set(spec.data.val_ids)
    mean = np.nanmean([list(d.values()) for d in result.case_dice.values()], axis=0)
    assert result.metrics["val/dice_organ"] == pytest.approx(mean[0], abs=1e-6)
    assert recorder.outputs[0]["prediction"].shape == recorder.outputs[0]["lm"].shape[2:]


def test_checkpoint_describes_the_model_as_plain_data(make_spec):
    import json

    plain = make_spec(TINY, max_epochs=1, steps_per_epoch=1)
    data = dataclasses.replace(plain.data, unannotated={"elsewhere": (7,), "phantom": ()})
    origin = [{"datasource": "phantom", "raw": 3, "output": 3}]
    spec = dataclasses.replace(plain, data=data, label_origin=origin, folds_digest="abc")
    result = fit(spec)
    model = read_model(result.last)
    assert json.loads(json.dumps(model.meta)) == model.meta
    assert model.meta["network"]["out_channels"] == 3
    assert model.meta["labels"] == {"values": [3, 7], "names": {"3": "organ", "7": "lesion"}}
    assert model.meta["datasets"]["train"] == list(spec.data.train_ids)
    assert model.meta["unannotated"] == {"elsewhere": [7]}
    assert model.meta["label_origin"] == [{"datasource": "phantom", "raw": 3, "output": 3}]
    assert model.meta["folds_digest"] == "abc"
    assert model.meta["patch_size"] == [24, 16, 16]
    build_network(model.meta["network"]).load_state_dict(model.state_dict)


@pytest.mark.parametrize(
    ("every", "patience", "dices", "epochs", "validated"),
    [
        (1, 1, [0.1, 0.2, 0.3, 0.4, 0.5], 5, [1, 2, 3, 4, 5]),  # it rises: never
        (1, 2, [0.3, 0.4, 0.2, 0.3], 4, [1, 2, 3, 4]),
        (3, 3, [0.1, 0.2, 0.2], 9, [3, 6, 9]),  # the second is the best: not stopped there
        (3, 1, [0.3, 0.2], 6, [3, 6]),  # between validations nothing is known
    ],
)
def test_early_stopping_waits_for_validations_without_a_rise(
    make_spec, monkeypatch, every, patience, dices, epochs, validated
):
    coming = iter(dices)
    figures = module.figures_of
    monkeypatch.setattr(module, "figures_of", lambda *a, **k: {**figures(*a, **k), "val/dice": next(coming)})
    rises = dices == sorted(set(dices))
    spec = make_spec(
        max_epochs=epochs if rises else 12,
        early_stopping_epochs=patience,
        val_every_n_epochs=every,
        steps_per_epoch=1,
        max_val_cases=1,
    )
    result = fit(spec)
    assert (result.epochs, result.stopped_by) == (epochs, "max_epochs" if rises else "early_stopping")
    with (spec.run_folder / "metrics.csv").open() as stream:
        found = {int(row["epoch"]): float(row["val/dice"]) for row in csv.DictReader(stream) if row["val/dice"]}
    assert found == dict(zip(validated, dices, strict=True)), "the last epoch is a validated one"


def test_plateau_lowers_the_rate_and_goes_on_after_a_resume(make_spec):
    recorder = Recorder()
    flat = {"schedule": "plateau", "warmup": 0.0, "plateau_patience": 2, "plateau_factor": 0.1, "final_lr_share": 0.0}

    def spec(epochs):
        made = make_spec(max_epochs=epochs, steps_per_epoch=1, lr=1e-12)
        vars(made.trainer.optimiser).update(flat)
        return made

    fit(spec(4), callbacks=[recorder])
    fit(spec(6), callbacks=[recorder], resume=spec(6).run_folder)
    assert recorder.rates == pytest.approx([1e-12] * 3 + [1e-13] * 2 + [1e-14])


def test_accumulated_gradients_equal_a_larger_batch(make_spec):
    weights = []
    for name, batch_size, accumulate in (("large", 4, 1), ("small", 2, 2)):
        # Dice's sums over the batch, and weights of the cross-entropy, belong to the batch of a forward pass
        loss = LossSettings(batch_dice=False)
        spec = make_spec(name=name, batch_size=batch_size, accumulate=accumulate, loss=loss, steps_per_epoch=5)
        spec.trainer.optimiser.name = "sgd"
        result = fit(spec)
        assert result.steps == 10
        weights.append(read_checkpoint(result.last)["state_dict"])
    for key, expected in weights[0].items():
        torch.testing.assert_close(weights[1][key], expected)


def test_no_validation(make_spec):
    result = fit(make_spec(max_epochs=1, val_every_n_epochs=0))
    assert result.best is None
    assert math.isnan(result.best_dice)
    assert result.last.exists()


class Explodes(nn.Module):
    def __init__(self, after=4):
        super().__init__()
        self.conv = nn.Conv3d(1, 3, 1)
        self.calls, self.after = 0, after

    def forward(self, image):
        self.calls += 1
        return self.conv(image) * (float("nan") if self.calls > self.after else 1.0)


def test_nan_loss_stops_with_cases_and_causes(make_spec):
    spec = make_spec(max_epochs=3, val_every_n_epochs=0)
    with pytest.raises(FranError, match=r"nan at step 4, batch of cases case\d, case\d.*learning rate is too high"):
        fit(spec, Explodes())
    kept = read_checkpoint(spec.run_folder / "last.ckpt")
    assert kept["global_step"] == 3
    assert all(torch.isfinite(w).all() for w in kept["state_dict"].values())


class InfiniteGradient(torch.autograd.Function):
    """The image itself; its gradient is infinite where that is asked for."""

    @staticmethod
    def forward(ctx, image, infinite):
        ctx.infinite = infinite
        return image.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * math.inf if ctx.infinite else gradient, None


class Overflows(Explodes):
    """A finite loss whose gradient is infinite, in the sixth step: the last one of an epoch."""

    def forward(self, image):
        self.calls += self.training
        return InfiniteGradient.apply(self.conv(image), self.training and self.calls == 6)


@pytest.mark.parametrize("queued", [(), ("cpu",)], ids=["looked at once", "looked at in groups, as on a GPU"])
@pytest.mark.parametrize("asked", [False, True], ids=["end of an epoch", "signal"])
def test_an_infinite_gradient_gets_into_no_checkpoint(make_spec, monkeypatch, queued, asked):
    """Neither into that of the epoch, nor into that of a signal in the same step."""
    monkeypatch.setattr(module, "QUEUED", queued)

    class Terminate(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if asked and trainer.global_step == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    spec = make_spec(max_epochs=3, steps_per_epoch=5 if asked else 3)
    with pytest.raises(
        FranError, match=r"the gradient's norm became (inf|nan) at step 5, batch of cases case\d, case\d"
    ):
        fit(spec, Overflows(), callbacks=[Terminate()])
    kept = read_checkpoint(spec.run_folder / "last.ckpt")
    assert kept["global_step"] == (5 if asked else 3)
    assert all(torch.isfinite(w).all() for w in kept["state_dict"].values())
    assert fit(spec, Explodes(after=99), resume=spec.run_folder).stopped_by == "max_epochs"


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_precisions_and_optimisers_lower_the_loss(make_spec, precision, name):
    spec = make_spec(max_epochs=2, steps_per_epoch=10, precision=precision, channels_last=True, val_every_n_epochs=0)
    spec.trainer.optimiser.name = name
    spec.trainer.optimiser.momentum = 0.9
    fit(spec)
    with (spec.run_folder / "metrics.csv").open() as stream:
        losses = [float(r["train/loss"]) for r in csv.DictReader(stream)]
    assert losses[1] < losses[0]


def test_fp16_on_a_cpu_is_another_precision_and_said(make_spec, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    spec = make_spec(max_epochs=1, steps_per_epoch=1, precision="16-mixed", val_every_n_epochs=0)
    seen = []

    class Precision(Callback):
        def on_train_start(self, trainer, module):
            seen.append(trainer.precision)

    fit(spec, callbacks=[Precision()])
    assert seen == ["32-true"]
    assert "trainer.precision=16-mixed: a CPU does not train in fp16; it is 32-true" in caplog.text
    assert not (spec.run_folder / "alarms.json").exists()


def test_bad_patch_fails_before_any_work(make_spec):
    spec = dataclasses.replace(make_spec(TINY), patch_size=(30, 16, 16))
    with pytest.raises(ConfigError, match="nearest valid sizes"):
        fit(spec)
    assert not list(spec.run_folder.iterdir())


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_case_is_named(make_spec, tmp_path, workers):
    import shutil

    spec = make_spec(num_workers=workers)
    copied = tmp_path / "damaged"
    shutil.copytree(spec.data.manifest, copied)
    victim = copied / "case1.h5"
    victim.write_bytes(victim.read_bytes()[:2000])
    broken = dataclasses.replace(spec, data=dataclasses.replace(spec.data, manifest=copied))
    with pytest.raises(StoreError, match=r"case1.*fran preprocess"):
        fit(broken)


def test_class_weights_are_counted_before_any_work(make_spec):
    with pytest.raises(ConfigError, match="each of background, organ, lesion, found 2"):
        fit(make_spec(loss=LossSettings(class_weights=[1.0, 2.0])))


def test_wrong_loss_settings_are_named():
    loss = LossSettings(dice_weight=0.0, ce_weight=0.0, smooth=0.0, class_weights=[0.0, -1.0])
    settings = TrainerSettings(loss=loss, early_stopping_epochs=-1)
    with pytest.raises(ConfigError) as caught:
        settings.check()
    for name in ("ce_weight", "smooth", "class_weights"):
        assert f"trainer.loss.{name}" in str(caught.value)
    assert "trainer.early_stopping_epochs" in str(caught.value)


def test_wrong_settings_are_all_named():
    settings = TrainerSettings(max_epochs=0, precision="bf16", max_time="soon")
    settings.optimiser.name = "adam"
    with pytest.raises(ConfigError, match=r"(?s)max_epochs.*precision.*did you mean|max_time.*HH:MM:SS") as caught:
        settings.check()
    for name in ("trainer.max_epochs", "trainer.precision", "trainer.max_time", "trainer.optimiser.name"):
        assert name in str(caught.value)
