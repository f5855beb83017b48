"""What holds for every operation."""

from __future__ import annotations

import pytest
import torch

from fran.augmentation.batched import BatchAugmentation
from fran.augmentation.settings import no_augmentation
from tests.augmentation.conftest import ALWAYS, BLOB, MOVING, SPACING, everything, only

SEEDS = [5, 6, 7]
each = pytest.mark.parametrize("name", ALWAYS)


def test_every_setting_with_a_probability_is_tried():
    probabilities = {name.removesuffix("_p") for name in vars(no_augmentation()) if name.endswith("_p")}
    assert probabilities == set(ALWAYS)


@each
def test_a_seed_decides(name, batch):
    image, lm, floor = batch
    augment = BatchAugmentation(only(name), SPACING)
    first, again = augment(image, lm, SEEDS, floor), augment(image, lm, SEEDS, floor)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], image)
    if name != "flip":  # its only parameter is whether
        assert not torch.equal(augment(image, lm, [8, 9, 10], floor)[0], first[0])


@each
def test_a_sample_does_not_depend_on_its_neighbours(name, batch):
    image, lm, floor = batch
    augment = BatchAugmentation(only(name), SPACING)
    together = augment(image, lm, SEEDS, floor)
    for i, seed in enumerate(SEEDS):
        alone = augment(image[i : i + 1], lm[i : i + 1], [seed], floor[i : i + 1])
        assert torch.equal(alone[0][0], together[0][i])
        assert torch.equal(alone[1][0], together[1][i])


@each
def test_inputs_are_left_alone_and_types_kept(name, batch):
    image, lm, floor = batch
    before = image.clone(), lm.clone()
    moved, labels = BatchAugmentation(only(name), SPACING)(image, lm, SEEDS, floor)
    assert torch.equal(image, before[0]) and torch.equal(lm, before[1])
    assert (moved.shape, moved.dtype, labels.shape, labels.dtype) == (image.shape, image.dtype, lm.shape, lm.dtype)
    assert torch.isfinite(moved).all()
    assert moved.abs().max() < 8
    assert set(labels.unique().tolist()) <= {0, 1, 2}
    assert moved.is_contiguous()


@each
def test_labels_stay_on_what_they_label(name, batch):
    image, lm, floor = batch
    moved, labels = BatchAugmentation(only(name), SPACING)(image, lm, SEEDS, floor)
    if name not in MOVING:
        assert labels is lm
        return
    for row in range(3):
        # image and indicator are interpolated alike, so on the blob's border both are half way, but for the noise
        labelled = labels[row, 0] == 1
        assert 60 < labelled.sum() < 700
        assert moved[row, 0][labelled].min() > 0.45 * BLOB
        assert moved[row, 0][~labelled].max() < 0.55 * BLOB
        assert not torch.equal(labels[row], lm[row])


@each
def test_sixteen_bit_labels_move_like_eight_bit_ones(name, batch):
    image, lm, floor = batch
    augment = BatchAugmentation(only(name), SPACING)
    small, large = augment(image, lm, SEEDS, floor)[1], augment(image, lm.int() * 400, SEEDS, floor)[1]
    assert large.dtype == torch.int32
    assert torch.equal(small.int() * 400, large)


def test_nothing_drawn_returns_the_very_tensors(batch):
    image, lm, floor = batch
    moved, labels = BatchAugmentation(no_augmentation(), SPACING)(image, lm, SEEDS, floor)
    assert moved is image
    assert labels is lm


def test_samples_that_drew_nothing_are_untouched(batch):
    image, lm, floor = batch
    settings = no_augmentation()
    settings.noise_p = 0.5
    augment = BatchAugmentation(settings, SPACING)
    seeds = [next(s for s in range(99) if bool(augment.draw(s).intensity) is drew) for drew in (True, False, True)]
    moved, _ = augment(image, lm, seeds, floor)
    assert [torch.equal(moved[row], image[row]) for row in range(3)] == [False, True, False]


@pytest.mark.parametrize("name", ALWAYS)
def test_probabilities_are_met(name):
    settings, found = everything(), 0
    augment = BatchAugmentation(settings, SPACING)
    key = {"lowres": "low_resolution", "gamma_invert": "gamma_inverted"}.get(name, name)
    still = augment.draw(0).movement.__class__()
    fields = {"rotation": "angles_rad", "scale": "zoom", "shear": "shear", "translation": "shift_mm"}
    for seed in range(1500):
        drawn = augment.draw(seed)
        if name == "flip":
            found += 1 in drawn.flips
        elif name in fields:
            found += getattr(drawn.movement, fields[name]) != getattr(still, fields[name])
        else:
            found += key in drawn.intensity
    assert found / 1500 == pytest.approx(0.5 if name == "flip" else 0.6, abs=0.04)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", [n for n in ALWAYS if n != "noise"])
def test_gpu_does_the_same_but_for_noise(name, batch):
    augment = BatchAugmentation(only(name), SPACING)
    on_cpu = augment(*batch[:2], SEEDS, batch[2])
    on_gpu = augment(batch[0].cuda(), batch[1].cuda(), SEEDS, batch[2].cuda())
    torch.testing.assert_close(on_gpu[0].cpu(), on_cpu[0], atol=1e-2, rtol=1e-2)
    assert (on_gpu[1].cpu() != on_cpu[1]).float().mean() < 0.01
