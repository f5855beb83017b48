from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import signal

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from fran.errors import ConfigError
from fran.io.checkpoint import read_checkpoint, read_model
from fran.labels import LabelScheme
from fran.networks.build import build_network
from fran.training.finetune import head_dimensions, start_from
from fran.training.fit import fit
from fran.training.interrupt import TrainingInterrupted

SMALL = {"_target_": "fran.networks.dynunet.dynunet", "filters": 8, "max_filters": 32}
OTHER = LabelScheme((3, 7), {3: "gland", 7: "organ"})


def other_labels(spec, **changes):
    """The same case files, whose lesion (7) is called organ now and whose organ (3) is called gland."""
    return dataclasses.replace(spec, data=dataclasses.replace(spec.data, labels=OTHER), **changes)


def filled(make_spec, **changes):
    from fran.training.parts import complete_network

    return complete_network(make_spec({**SMALL, **changes}))


def test_body_is_taken_and_head_goes_by_label_name(make_spec, trained):
    spec = filled(make_spec)
    torch.manual_seed(3)
    network = build_network(spec)
    fresh = {k: v.clone() for k, v in network.state_dict().items()}
    report = start_from(network, spec, OTHER, trained)
    before = read_model(trained).state_dict
    heads = head_dimensions(spec)
    assert set(report.heads) == set(heads)
    assert not report.anew
    for name, tensor in network.state_dict().items():
        if name not in heads:
            assert torch.equal(tensor, before[name]), name
            continue
        # here: background, gland, organ; there: background, organ, lesion
        assert torch.equal(tensor[0], before[name][0])
        assert torch.equal(tensor[1], fresh[name][1])
        assert torch.equal(tensor[2], before[name][1])
        assert not torch.equal(fresh[name][2], before[name][1])
    text = "\n".join(report.lines())
    assert "head          background, organ by name; new: gland; left behind: lesion" in text
    assert f"carried over  {len(report.whole)} of {len(before)} tensors" in text


def test_same_labels_and_another_number_of_them(make_spec, trained):
    network = build_network(filled(make_spec))
    same = start_from(network, filled(make_spec), LabelScheme((3, 7), {3: "organ", 7: "lesion"}), trained)
    assert len(same.whole) == len(network.state_dict())
    four = LabelScheme((1, 2, 3), {1: "lesion", 2: "vessel", 3: "organ"})
    spec = {**filled(make_spec), "out_channels": 4}
    network = build_network(spec)
    report = start_from(network, spec, four, trained)
    before = read_model(trained).state_dict
    for name in report.heads:
        assert torch.equal(network.state_dict()[name][[0, 1, 3]], before[name][[0, 2, 1]])


def test_other_input_channels_start_anew(make_spec, trained):
    spec = {**filled(make_spec), "in_channels": 2}
    report = start_from(build_network(spec), spec, OTHER, trained)
    assert report.anew
    assert all("(8, 2, " in why and "(8, 1, " in why for why in report.anew.values())
    assert report.whole


def test_what_makes_no_sense_is_refused(make_spec, trained):
    convolution = {"_target_": "torch.nn.Conv3d", "kernel_size": 3, "padding": 1}
    with pytest.raises(ConfigError, match=r"expected weights of the network torch\.nn\.Conv3d, found those of fran"):
        fit(dataclasses.replace(make_spec(convolution), init_from=trained))
    wide = filled(make_spec, filters=16, max_filters=64)
    with pytest.raises(ConfigError, match=r"a half at least, found 0%.*model\.filters: 16 here, 8 there"):
        start_from(build_network(wide), wide, OTHER, trained)
    spec = make_spec(SMALL)
    ids = spec.data.train_ids + spec.data.val_ids
    leaking = dataclasses.replace(spec.data, train_ids=ids[2:], val_ids=ids[:2])
    with pytest.raises(ConfigError, match=r"init_from: .* found 2 it was trained on: case0, case1\..*that one's is 0"):
        fit(dataclasses.replace(spec, data=leaking, init_from=trained))


def losses(run):
    with (run / "metrics.csv").open() as stream:
        return [float(row["train/loss"]) for row in csv.DictReader(stream)]


def test_it_learns_faster_than_from_scratch(make_spec, trained):
    found = {}
    for name, start in (("scratch", None), ("tuned", trained)):
        spec = make_spec(SMALL, name=name, steps_per_epoch=5, max_epochs=2, val_every_n_epochs=0)
        fit(other_labels(spec, init_from=start))
        found[name] = losses(spec.run_folder)
    assert found["tuned"][0] < 0.8 * found["scratch"][0]
    assert found["tuned"][1] < 0.9 * found["scratch"][1]


class Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, trainer, module, *_):
        groups = trainer.optimizers[0].param_groups
        self.rates.append({group["carried"]: group["lr"] for group in groups})
        if len(self.rates) == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_carried_weights_may_learn_slowly_also_after_a_resume(make_spec, trained, tmp_path):
    def spec(**changes):
        made = make_spec(SMALL, name="slow", steps_per_epoch=3, max_epochs=1, val_every_n_epochs=0)
        made.trainer.optimiser.carried_lr_share = 0.1
        return other_labels(made, **changes)

    source = tmp_path / "source"
    shutil.copytree(trained, source)
    rates = Rates()
    with pytest.raises(TrainingInterrupted):
        fit(spec(init_from=source), callbacks=[rates])
    shutil.rmtree(source)  # a run that has started does not need it any more
    fit(spec(), callbacks=[rates], resume=spec().run_folder)
    assert len(rates.rates) == 3
    assert all(rate[True] == pytest.approx(0.1 * rate[False]) for rate in rates.rates)
    init = read_checkpoint(spec().run_folder / "last.ckpt")["fran"]["init"]
    assert init["source"] == str(source / "last.ckpt")
    assert init["labels"] == ["background", "organ"]
