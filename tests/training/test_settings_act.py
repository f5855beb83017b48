"""What the settings say is what a step does."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import replace

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from fran.io.checkpoint import read_checkpoint
from fran.networks.build import build_network
from fran.training.fit import fit
from fran.training.parts import complete_network, make_datamodule
from fran.training.settings import LossSettings, OptimiserSettings
from tests.training.test_conf import load, names


def losses_of(run):
    with (run / "metrics.csv").open() as stream:
        return [float(row["train/loss"]) for row in csv.DictReader(stream)]


class Steps(Callback):
    """Rates, layout and the length of each step in the space of all weights."""

    def __init__(self):
        self.rates, self.lengths, self.seen = [], [], set()
        self._before = None

    def _weights(self, module):
        return torch.cat([p.detach().flatten() for p in module.network.parameters()])

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self._before = self._weights(module).clone()
        weight = max(module.network.parameters(), key=torch.numel)
        last = torch.channels_last_3d
        self.seen.add(
            (
                batch["image"].is_contiguous(memory_format=last) and weight.is_contiguous(memory_format=last),
                torch.are_deterministic_algorithms_enabled(),
            )
        )

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.lengths.append(float((self._weights(module) - self._before).norm()))


def plain_sgd(spec, **settings):
    optimiser = OptimiserSettings("sgd", weight_decay=0.0, momentum=0.0, schedule="constant", warmup=0.0)
    return replace(spec, trainer=replace(spec.trainer, optimiser=replace(optimiser, **settings)))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_gradient_is_clipped(make_spec, precision):
    """Without momentum a step is as long as the rate times the norm of the gradient."""
    lengths = {}
    for clip_norm in (0.0, 0.05):
        steps, spec = Steps(), make_spec(name=f"clip{clip_norm}", precision=precision, val_every_n_epochs=0)
        fit(plain_sgd(spec, lr=0.1, clip_norm=clip_norm), callbacks=[steps])
        lengths[clip_norm] = steps.lengths
    assert max(lengths[0.05]) <= 0.1 * 0.05 * 1.001
    assert lengths[0.05] == pytest.approx([0.1 * 0.05] * 6, rel=1e-3)
    assert min(lengths[0.0]) > 0.1 * 0.05


def test_sgd_poly_is_nnunets(make_spec):
    steps, spec = Steps(), make_spec(max_epochs=4, val_every_n_epochs=0)
    settings = OptimiserSettings(**load("trainer/optimiser", "sgd_poly"))
    fit(replace(spec, trainer=replace(spec.trainer, optimiser=settings)), callbacks=[steps])
    assert steps.rates == pytest.approx([0.01 * (1 - n / 12) ** 0.9 for n in range(12)])
    (group,) = read_checkpoint(spec.run_folder / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.99, True, 3e-5)


def test_adamw_warms_up_follows_a_cosine_and_spares_biases(make_spec):
    steps, spec = Steps(), make_spec(max_epochs=10, steps_per_epoch=2, val_every_n_epochs=0)
    settings = OptimiserSettings(lr=1e-3, warmup=0.2, final_lr_share=0.1)
    fit(replace(spec, trainer=replace(spec.trainer, optimiser=settings)), callbacks=[steps])
    rising, falling = steps.rates[:4], steps.rates[4:]
    assert rising == pytest.approx([1e-3 * (0.01 + 0.99 * n / 4) for n in range(4)])
    assert falling == pytest.approx([1e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi * n / 16)) / 2) for n in range(16)])
    groups = read_checkpoint(spec.run_folder / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert sorted((group["weight_decay"], len(group["params"])) for group in groups) == [(0.0, 1), (1e-2, 1)]


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_layout_is_that_of_images_and_weights(make_spec, channels_last):
    steps, spec = Steps(), make_spec(max_epochs=1, val_every_n_epochs=0, channels_last=channels_last)
    network = {"_target_": "fran.networks.dynunet.dynunet", "filters": 4, "max_filters": 8}
    fit(replace(spec, network=network), callbacks=[steps])
    # of images with one channel both layouts are one, so the weights decide
    assert {layout for layout, _ in steps.seen} == {channels_last}


def test_deterministic_algorithms_are_asked_for(make_spec):
    steps = Steps()
    try:
        fit(make_spec(max_epochs=1, val_every_n_epochs=0, deterministic=True), callbacks=[steps])
    finally:
        torch.use_deterministic_algorithms(False)
    assert {deterministic for _, deterministic in steps.seen} == {True}


@pytest.mark.parametrize("name", names("trainer/loss"))
def test_every_shipped_loss_falls(make_spec, name):
    loss = LossSettings(**load("trainer/loss", name))
    spec = make_spec(loss=loss, max_epochs=3, steps_per_epoch=10, val_every_n_epochs=0)
    fit(spec)
    first, *_, last = losses_of(spec.run_folder)
    assert last < 0.95 * first


def test_processes_on_one_machine_share_its_cores(make_spec, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    found = [make_datamodule(make_spec(devices=n), on_gpu=True) for n in (1, 4)]
    assert [(data.ranks, data.workers) for data in found] == [(1, 7), (4, 1)]


def test_sampling_and_caches_are_those_of_the_settings(make_spec):
    spec = replace(
        make_spec(
            fg_fraction=0.8,
            class_sampling_weights={"lesion": 3},
            case_sampling_weights={"case1": 2},
            datasource_sampling_weights={"phantom": 5},
            max_val_cases=1,
            cache="ram",
            num_workers=2,
            accumulate=3,
        ),
        samples_per_file=2,
    )
    data = make_datamodule(spec, on_gpu=False)
    crops = data.crops
    assert (crops.fg_fraction, crops.samples_per_file, crops.seed) == (0.8, 2, spec.trainer.seed)
    assert crops.class_weights == {0: 1.0, 1: 1.0, 2: 3.0}
    assert crops.case_shares.tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert (data.cache, data.workers, data.steps_per_epoch, len(data.cases)) == ("ram", 2, 9, 1)
    # four fifths of the crops are on foreground, of which a quarter on the organ: each case has both
    assert crops.placed_shares().tolist() == pytest.approx([0.0, 0.2, 0.6])


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_is_exported_by_the_same_names(make_spec):
    found = {}
    for compiled in (False, True):
        spec = make_spec(name=f"compile{compiled}", max_epochs=2, val_every_n_epochs=2, compile=compiled)
        result = fit(spec)
        found[compiled] = read_checkpoint(result.last)["state_dict"], losses_of(spec.run_folder)
    assert found[True][0].keys() == found[False][0].keys()
    assert found[True][1] == pytest.approx(found[False][1], rel=1e-2)
    network = build_network(complete_network(spec))
    network.load_state_dict({k.removeprefix("network."): v for k, v in found[True][0].items() if "network." in k})
